"""Vector indexes and their generations. The home of faiss."""
