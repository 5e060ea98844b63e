"""Pieces: contents cut, compressed and found again, so that what is stored once is not stored twice."""
