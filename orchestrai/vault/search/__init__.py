"""Which snapshots hold a file or a partition, since when and until when."""
