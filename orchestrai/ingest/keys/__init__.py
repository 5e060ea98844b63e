"""Keys across partitions: an index of what each partition holds, and the check that asks it."""
