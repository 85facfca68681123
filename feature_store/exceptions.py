"""Errors a user of the feature store can act on. Each carries what was wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class FeatureStoreError(Exception):
    """Base of every error that is the caller's to fix.

    Args:
        message: what is wrong, naming the value.
        remedy: what the caller can do about it, as an imperative sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class DefinitionError(FeatureStoreError):
    """An entity, view, service or transform that cannot be used, or that changed its meaning."""


class RequestError(FeatureStoreError):
    """Labels or keys that do not fit the service they are asked of."""


class StoreError(FeatureStoreError):
    """Stored data that is missing, damaged, or of another view than the one asked for."""


class QuarantinedError(FeatureStoreError):
    """A batch that was refused as a whole and put aside; nothing of it is visible.

    Args:
        view: label of the feature view.
        reasons: what is wrong with the batch, one sentence each.
        path: the folder where batch and reasons are kept.
    """

    def __init__(self, view: str, reasons: Sequence[str], path: Path) -> None:
        super().__init__(
            f"A batch for {view} was refused: {'; '.join(reasons)}.",
            f"It is kept in {path}; correct and write it again.",
        )
        self.reasons = tuple(reasons)
        self.path = path
