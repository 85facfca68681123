"""Ranker: orders the candidates of a request by their features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from recsys.types import FloatArray


class Ranker(Protocol):
    """Scores candidates; the higher, the better. Scores are comparable within one request only."""

    @property
    def names(self) -> Sequence[str]:
        """The features it was trained on, in order."""
        ...

    def score(self, features: FloatArray) -> FloatArray:
        """Scores float32 ``[n, m]`` of features ``[n, m, len(names)]``, ``-inf`` for no candidate (all NaN)."""
        ...

    def save(self, path: Path) -> None:
        """Write everything that decides the scores into a directory."""
        ...
