"""From the bytes of one object to typed rows, or to rejects with the reason."""
