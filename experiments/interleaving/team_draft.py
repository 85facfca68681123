"""Team-draft interleaving: the rankings pick in turns, a coin says who begins each round (Radlinski et al. 2008)."""

from __future__ import annotations

import numpy as np

from experiments.interleaving.interleaved import Interleaved, Ranking, check


def team_draft(a: Ranking, b: Ranking, k: int, generator: np.random.Generator) -> Interleaved:
    """A list of up to k items; a click counts for the ranking that picked the item.

    Args:
        a: ranking A, best first.
        b: ranking B.
        k: length of the list.
        generator: of the coins.

    Raises:
        InputError: an item stands twice in one ranking, or k is below 1.
    """
    check(a, b, k)
    items: list[str] = []
    credits: list[float] = []
    turns: list[int] = []
    while len(items) < k:
        if not turns:
            turns = [0, 1] if generator.random() < 0.5 else [1, 0]
        team = turns.pop(0)
        choice = next((item for item in (a, b)[team] if item not in items), None)
        if choice is None:
            if all(item in items for item in (a, b)[1 - team]):
                break
            continue
        items.append(choice)
        credits.append(1.0 if team else -1.0)
    return Interleaved(tuple(items), tuple(credits))
