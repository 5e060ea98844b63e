"""What a stage is and what it runs in: one value for each, so that no list of stages stands anywhere else."""
