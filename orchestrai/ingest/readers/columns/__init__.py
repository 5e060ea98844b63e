"""Columns that are made from others, after typing."""
