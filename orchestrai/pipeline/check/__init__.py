"""What can be known of declarations before anything runs: each mistake is one line with file, line and field."""
