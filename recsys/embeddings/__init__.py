"""Embedding tables: ids, unit vectors and the tower that made them."""
