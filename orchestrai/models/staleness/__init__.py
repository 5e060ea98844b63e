"""Which partitions of predictions are stale."""
