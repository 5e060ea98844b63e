"""The witness outside a vault: since when what is there is proven to have been there."""
