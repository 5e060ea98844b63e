"""The project within a code location or a `dg` project of somebody else."""
