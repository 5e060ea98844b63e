"""Iceberg tables: metadata by way of the product's own stores, committed through a catalog."""
