"""Copies for development: which method a column is masked by, the values, and the proof over what was written."""
