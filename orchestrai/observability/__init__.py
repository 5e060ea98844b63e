"""What people are told of a system that runs by itself."""
