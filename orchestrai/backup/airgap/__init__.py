"""Copies of other accounts' vaults, pulled by a schedule of one's own."""
