"""What lies in a vault: where, and in which form."""
