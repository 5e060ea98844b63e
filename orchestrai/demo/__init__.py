"""What the demo is made of: a seeded landing of three producers, and a local stand-in for the supplier's items API."""
