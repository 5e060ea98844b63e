"""From conditions to messages that arrive: what changed, the signed log that holds it, who is told."""
