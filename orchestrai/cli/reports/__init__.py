"""Commands that say how things stand: what is current and stale, what is protected, and whether the machine is fit."""
