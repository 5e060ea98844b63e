"""The vault copied into another account by whoever may read it and nothing else."""
