"""CSV: its dialect, its grammar, and the proof by which Arrow may read a block of it."""
