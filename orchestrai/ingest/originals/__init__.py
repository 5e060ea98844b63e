"""The bytes as they landed: taken from the landing, kept beside the raw events, left in quarantine."""
