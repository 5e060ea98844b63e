"""Work that is done where a cluster is: a list of tasks, each by some executor that reaches the stores itself."""
