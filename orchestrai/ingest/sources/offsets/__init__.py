"""Where records lie in the embedded stream."""
