"""What a model is held against: the naive answer of its task, and one column alone."""
