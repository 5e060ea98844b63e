"""Warehouses of clouds by their own bulk path: Parquet into a bucket, loaded by the warehouse, put in place by one transaction."""
