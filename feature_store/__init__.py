"""Entities, feature views, point-in-time joins and online stores. A leaf: imports nothing of ours."""
