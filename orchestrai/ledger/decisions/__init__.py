"""What people decided, signed: overrides, skips, recalls, moves of several assets."""
