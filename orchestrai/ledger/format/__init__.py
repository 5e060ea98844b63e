"""How the lists behind a version lie in the store."""
