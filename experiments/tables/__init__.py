"""Tables of the result pages: each module makes those of one kind, and names them in its `TABLES`."""
