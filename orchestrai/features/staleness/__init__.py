"""Which partitions of feature tables and training sets are stale, and what a run does about it."""
