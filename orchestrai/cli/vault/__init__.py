"""`orchestrai vault ...`: snapshots, their lifecycle, their holds and keys."""
