"""Model registries of Azure and Google Cloud."""
