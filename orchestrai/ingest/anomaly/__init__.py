"""What partitions look like, noted as they are written, and those that are held because they look unlike the ones before them."""
