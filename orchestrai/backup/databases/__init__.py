"""Databases as consistent dumps, restored and compared."""
