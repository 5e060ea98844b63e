"""How good scores are: the metrics of each task, each a finite number with an interval or refused with a sentence."""
