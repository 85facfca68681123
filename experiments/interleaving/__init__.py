"""Two rankings in one list: readers choose between them without knowing."""
