"""Partitions that batches feed: what stands of one that grows, how one is judged when it is over, and which wait for a restore."""
