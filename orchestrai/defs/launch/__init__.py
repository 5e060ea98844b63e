"""What is launched: jobs, their schedules, and backfills without a daemon."""
