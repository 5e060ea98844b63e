"""What people look at: the card of a model and its pictures."""
