"""How new objects are noticed: by listing, or by the event queues of the clouds."""
