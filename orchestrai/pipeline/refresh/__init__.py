"""What a backfill runs, and whether running it would publish anything."""
