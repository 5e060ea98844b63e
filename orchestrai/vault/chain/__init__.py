"""The chain of each dataset: its signed records, its end, what of it was forgotten or is held, and whether it is whole."""
