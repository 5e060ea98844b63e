"""What runs a view: DuckDB, Spark or Python, with equal bytes."""
