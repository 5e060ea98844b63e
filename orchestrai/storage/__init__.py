"""Where bytes live: one protocol, one adapter per kind of store, no knowledge of data."""
