"""Declarations -> Dagster objects. Thin: config, one core call, report."""
