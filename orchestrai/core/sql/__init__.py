"""SQL text: how names and values become part of it."""
