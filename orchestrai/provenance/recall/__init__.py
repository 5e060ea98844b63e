"""The way back: recall, clean retraining, rebuilding, doing again."""
