"""What a contract asks of values, one rule in one place."""
