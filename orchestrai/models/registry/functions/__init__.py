"""Functions elsewhere that score batches with the champion."""
