"""The ledger: versions, manifests, receipts, and the one way to publish and to open data."""
