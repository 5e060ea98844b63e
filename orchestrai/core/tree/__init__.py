"""Sorted maps of which a change costs what changed."""
