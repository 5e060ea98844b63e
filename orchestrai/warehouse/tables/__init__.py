"""Tables with time travel: versions of a dataset as snapshots of an Iceberg or Delta table, over the ledger's own files."""
