"""Tables of databases by each one's own bulk path: windows of rows read as Arrow, counted again, and rows written."""
