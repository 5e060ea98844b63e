"""Copies of a vault compared by hash, and each mended from whichever proves right."""
