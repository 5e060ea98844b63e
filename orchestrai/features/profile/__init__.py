"""A feature table looked at: statistics, drift, pictures."""
