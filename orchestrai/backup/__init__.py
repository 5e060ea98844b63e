"""What is no event and is backed up all the same: feature tables, models, databases, folders, Dagster itself."""
