"""Entities and moments that somebody brings: which features were known of each, and what the second clock kept out."""
