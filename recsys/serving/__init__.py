"""The engine that answers requests."""
