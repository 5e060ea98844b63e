"""Restore: snapshot -> restored dataset, from vault bytes alone."""
