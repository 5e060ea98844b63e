"""New rows alone: what is remembered of earlier ones, and windows that go on from them."""
