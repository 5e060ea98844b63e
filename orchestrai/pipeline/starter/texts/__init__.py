"""The files of a first project as text, with what was seen as comments."""
