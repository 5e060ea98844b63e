"""Arrival: from landing to raw events, every object, record and row exactly once."""
