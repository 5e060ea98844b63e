"""`orchestrai backup ...`: databases, to a moment."""
