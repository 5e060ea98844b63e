"""Features: views in a portable subset of Spark SQL, run with equal bytes on DuckDB and Spark; point-in-time training sets."""
