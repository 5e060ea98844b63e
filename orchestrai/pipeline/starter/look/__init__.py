"""What lies at a place, read as ingest reads it."""
