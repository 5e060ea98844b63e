"""The control plane of each cloud: what its stores can do beside reading and writing objects."""
