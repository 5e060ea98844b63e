"""Contracts and landings as those of ingest have them."""

from orchestrai_tests.ingest.conftest import landing, orders

__all__ = ["landing", "orders"]
