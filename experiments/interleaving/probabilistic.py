"""Probabilistic interleaving: places are drawn from softened rankings, a click is shared by who could have drawn it."""

from __future__ import annotations

import numpy as np

from experiments.interleaving.interleaved import Interleaved, Ranking, check

STEEPNESS = 3.0
"""An item of rank r is drawn in proportion to ``r ** -STEEPNESS``, as the authors have it."""


def probabilistic(a: Ranking, b: Ranking, k: int, generator: np.random.Generator) -> Interleaved:
    """A list of up to k items (Hofmann et al., CIKM 2011).

    For each place a coin names a ranking, from which an item not yet shown is drawn. Which one it was is not used: a
    click is worth the difference of the probabilities that B and that A gave this item, over their sum, which is the
    mean over all the assignments that could have made this list.

    Args:
        a: ranking A, best first.
        b: ranking B.
        k: length of the list.
        generator: of coins and draws.

    Raises:
        InputError: an item stands twice in one ranking, or k is below 1.
    """
    check(a, b, k)
    pool = list(dict.fromkeys([*a, *b]))
    soft = np.stack([_softened(ranking, pool) for ranking in (a, b)])
    items: list[str] = []
    credits: list[float] = []
    while len(items) < k and len(items) < len(pool):
        left = soft.sum(axis=1)
        given = soft / np.where(left > 0, left, 1)[:, None]
        teams = np.flatnonzero(left > 0)
        place = int(generator.choice(len(pool), p=given[generator.choice(teams)]))
        from_a, from_b = given[:, place]
        items.append(pool[place])
        credits.append(float((from_b - from_a) / (from_a + from_b)) if len(teams) == 2 else 0.0)
        soft[:, place] = 0
    return Interleaved(tuple(items), tuple(credits))


def _softened(ranking: Ranking, pool: list[str]) -> np.typing.NDArray[np.float64]:
    rank = {item: place + 1 for place, item in enumerate(ranking)}
    return np.array([rank[item] ** -STEEPNESS if item in rank else 0.0 for item in pool])
