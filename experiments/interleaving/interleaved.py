"""Interleaved: one list made of two rankings, and what a click on each place says for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.exceptions import InputError

Ranking = Sequence[str]


@dataclass(frozen=True)
class Interleaved:
    """A list to show, to be logged with its credits.

    Attributes:
        items: best first.
        credits: what a click on each item is worth to B, negative: to A.
    """

    items: tuple[str, ...]
    credits: tuple[float, ...]

    def preference(self, clicked: Sequence[str]) -> float:
        """How much clicks on these items speak for B, over 0, or for A; an item counts once.

        Raises:
            InputError: an item that was not shown.
        """
        unseen = [item for item in clicked if item not in self.items]
        if unseen:
            raise InputError(f"The clicked item {unseen[0]!r} was not in the list.", "Join clicks by request.")
        return sum(credit for item, credit in zip(self.items, self.credits, strict=True) if item in set(clicked))


def check(a: Ranking, b: Ranking, k: int) -> None:
    """Refuse what cannot be interleaved: a list with an item twice, or k below 1."""
    for name, ranking in (("A", a), ("B", b)):
        doubled = [item for place, item in enumerate(ranking) if item in ranking[:place]]
        if doubled:
            raise InputError(f"Ranking {name} holds {doubled[0]!r} twice.", "Rank each item once.")
    if k < 1:
        raise InputError(f"A list of {k} items cannot be shown.", "Ask for 1 or more.")
