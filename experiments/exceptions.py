"""Errors a user of the experiments library can act on. Each says what was wrong and what to do about it."""

from __future__ import annotations


class ExperimentError(Exception):
    """Base of every error that is the caller's to fix.

    Args:
        message: what is wrong, naming the value.
        remedy: what the caller can do about it, as an imperative sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class DesignError(ExperimentError):
    """An experiment, layer or metric that cannot be used, or may not be changed any more."""


class InputError(ExperimentError):
    """Exposures, events or tables of units from which no honest number can be computed."""
