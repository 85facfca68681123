"""Offline store: all rows that were ever written, in Parquet by day, and the join of labels with them as of a time."""
