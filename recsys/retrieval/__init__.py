"""Candidate sources, one per file, and their fusion."""
