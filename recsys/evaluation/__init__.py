"""Metrics, slices and the report."""
