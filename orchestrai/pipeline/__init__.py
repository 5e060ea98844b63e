"""What a user declares, the asset graph it means, and the runtime that runs a node of it."""
