"""Warehouses of clouds: statements run by their own interfaces, rows in and out as Parquet in a bucket."""
