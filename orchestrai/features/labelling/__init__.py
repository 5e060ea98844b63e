"""Labels joined to the features that were known, value by value of a dimension."""
