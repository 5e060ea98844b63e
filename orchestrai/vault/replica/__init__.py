"""A second copy of the vault: made, compared with the first, and each mended from the other."""
