"""The newest features of an entity, read by its key."""
