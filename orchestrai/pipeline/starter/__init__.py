"""A first project from a look at data: what is guessed, by the rules that ingest reads by, and why."""
