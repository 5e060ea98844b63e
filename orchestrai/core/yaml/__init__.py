"""Declarations in YAML: read with their lines, filled from variables, edited in place."""
