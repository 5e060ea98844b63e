"""Personal data: tokens, the keys of persons, and the guard at ingest."""
