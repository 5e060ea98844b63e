"""Commands that begin and check a project."""
