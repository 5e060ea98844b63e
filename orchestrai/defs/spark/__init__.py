"""Spark of Dagster: sessions, processes and jobs elsewhere."""
