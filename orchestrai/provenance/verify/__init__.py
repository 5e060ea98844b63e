"""Is it true? Models, records, vaults and single files checked from what was signed."""
