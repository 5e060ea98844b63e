"""What the demo is made of: a seeded landing of three producers, and a local stand-in for the supplier's items API."""

from orchestrai.demo.items_api import items_api
from orchestrai.demo.landing import LandingSummary, write_landing

__all__ = ["LandingSummary", "items_api", "write_landing"]
