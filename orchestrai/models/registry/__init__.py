"""Where champions are known and served: the registry in the lake, others by URL, endpoints."""
