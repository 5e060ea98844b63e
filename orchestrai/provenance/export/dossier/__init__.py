"""The dossier of a model: what an auditor asks of its records, on one page."""
