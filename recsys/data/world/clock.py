"""The calendar of the world: when its period begins, and how times are counted."""

from __future__ import annotations

from datetime import UTC, datetime

DAY_MS = 86_400_000
START = datetime(2025, 3, 3, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
