"""Errors a user can act on. Each carries the value that was wrong and what to do about it."""

from __future__ import annotations


class RecsysError(Exception):
    """Base of every error that is the caller's to fix; the command line prints it and exits with code 2.

    Args:
        message: what is wrong, naming the value.
        remedy: what the caller can do about it, as an imperative sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class ConfigError(RecsysError):
    """A setting, flag or mapping that cannot be used."""


class DataError(RecsysError):
    """Input data that cannot be read at all (single bad rows are rejected and counted instead)."""


class ArtifactError(RecsysError):
    """An artifact that is missing, busy, broken or does not fit the one it is used with."""


class FingerprintMismatchError(ArtifactError):
    """Vectors of one tower were offered where vectors of another are indexed.

    Args:
        expected: fingerprint of the tower that made the index.
        actual: fingerprint of the tower that made the query.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"These vectors come from tower {actual}, the index was built with tower {expected}.",
            "Encode the query with the tower of the index, or build a new index generation.",
        )
        self.expected = expected
        self.actual = actual
