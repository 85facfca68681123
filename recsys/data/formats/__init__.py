"""One reader per public layout, behind one registry."""
