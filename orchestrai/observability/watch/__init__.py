"""What is wrong now, worked out from the ledger and a clock; no run is needed for it."""
