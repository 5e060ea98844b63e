"""What Dagster is told: events of a stage's work, and of what the ledger holds."""
