"""Shared fixtures. The generated world and a tiny trained home are built once per session."""

from __future__ import annotations
