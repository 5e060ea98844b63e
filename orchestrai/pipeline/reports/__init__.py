"""What a pipeline holds and lacks, for people and for the catalog."""
