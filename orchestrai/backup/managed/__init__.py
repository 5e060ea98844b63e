"""AWS Backup, for what it alone can snapshot."""
