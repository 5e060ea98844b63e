"""A view: declared, expanded, bound to typed inputs, with exact output types and its lineage."""
