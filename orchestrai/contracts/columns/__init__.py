"""What a contract says of single columns beyond their type and rules."""
