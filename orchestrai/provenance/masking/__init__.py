"""Copies for development, masked by classification: declarations, landings, and the signed record of each."""
