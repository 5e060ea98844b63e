"""Where arrivals come from: landed objects, streams, tables, HTTP APIs."""
