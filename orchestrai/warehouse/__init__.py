"""Versions into warehouse tables, by partition or by key, counted there."""
