"""Pure functions from a ranked list to a slate."""
