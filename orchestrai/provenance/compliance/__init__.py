"""What is protected, since when and how well that is proven, for an auditor: facts of the ledger and the vault, as a page and as JSON."""
