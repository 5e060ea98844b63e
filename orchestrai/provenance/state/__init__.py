"""The state of everything, and of one model version, for people who have no Dagster."""
