"""What runs cost, and what follows for the next one."""
