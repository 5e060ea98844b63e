"""A server back at a moment: the plan, the restored server and its proof, and the drill that compares it with the primary."""
