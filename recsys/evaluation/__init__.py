"""Metrics, intervals, slices and the report: how good the answers are, over the whole catalogue."""
