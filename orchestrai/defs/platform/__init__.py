"""What Dagster is run on: its storage, its figures, its log lines, its traces."""
