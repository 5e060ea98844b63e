"""How much of a dataset a snapshot changed, and whether that is unlike its past: an alarm before older snapshots may go."""
