"""Figures of a project for a monitoring system, read from the ledger."""
