"""Provenance, across all stages: trace, verify, recall, rebuild, reproduce, erase, audit, export."""
