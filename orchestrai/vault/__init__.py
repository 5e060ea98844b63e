"""The vault: raw events -> snapshot."""
