"""PostgreSQL to a moment: base backups and the write-ahead log in the vault."""
