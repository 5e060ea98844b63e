"""Which due partitions the windows of features and the horizons of labels lacked, and what follows for the rows."""
