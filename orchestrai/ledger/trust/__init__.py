"""Whose signatures count here, as a signed chain says."""
