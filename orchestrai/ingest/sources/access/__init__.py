"""How a source is reached: which addresses, options and tokens, and none that was not declared."""
