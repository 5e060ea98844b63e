"""How probable it is that a partition is an ordinary one, by what the partitions before it were like."""
