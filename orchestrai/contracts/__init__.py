"""Contracts: what data must look like, and what the audit says of it."""
