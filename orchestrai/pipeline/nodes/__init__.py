"""The nodes of the asset graph as plain values: declarations with what they refer to."""
