"""Streams carried through every stage by one process that stays."""
