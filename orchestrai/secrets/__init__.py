"""Secrets by reference: resolved where they are used, never written down."""
