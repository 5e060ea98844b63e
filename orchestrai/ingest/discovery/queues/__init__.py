"""Arrivals that a queue tells of: its services, its messages, and what is done with them."""
