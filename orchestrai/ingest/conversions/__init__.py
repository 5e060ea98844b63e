"""From landed values of any format to the declared types: one table, one meaning for each value."""
