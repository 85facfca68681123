"""Optimised interleaving: of all lists that both rankings could begin, drawn so that no blind reader prefers either."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from experiments.exceptions import InputError
from experiments.interleaving.interleaved import Interleaved, Ranking, check

MAX_LENGTH = 10
"""Of the list: there are up to 2 to this power."""


def optimized(a: Ranking, b: Ranking, k: int, generator: np.random.Generator) -> Interleaved:
    """A list drawn from :func:`distribution`, of k items, or ``MAX_LENGTH``, or the length of the shorter ranking.

    Args:
        a: ranking A, best first.
        b: ranking B.
        k: length of the list.
        generator: of the draw.

    Raises:
        InputError: an item stands twice in one ranking, or k is below 1.
    """
    lists, credits, probabilities = distribution(a, b, min(k, MAX_LENGTH))
    drawn = int(generator.choice(len(lists), p=probabilities))
    return Interleaved(lists[drawn], tuple(float(credit) for credit in credits[drawn]))


def distribution(
    a: Ranking, b: Ranking, k: int
) -> tuple[list[tuple[str, ...]], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """All lists that may be shown, and how often (Radlinski and Craswell, WSDM 2013).

    A list may be shown if each of its beginnings is made of beginnings of the two rankings. A click is worth the
    difference of the ranks, A's less B's. The probabilities make a reader who clicks on places, whatever stands there,
    prefer neither, for every place; among those, lists are preferred in which such a reader's clicks are as likely to
    speak for one as for the other (the linear programme of the paper).

    Returns:
        m lists of one length, credits ``[m, length]`` and probabilities ``[m]``.

    Raises:
        InputError: an item stands twice in one ranking, k is below 1, or there is no such distribution (never seen
            where both rankings are as long as the list).
    """
    check(a, b, k)
    lists = _prefixed(a, b, min(k, len(a), len(b)))
    rank = [{item: place + 1 for place, item in enumerate(ranking)} for ranking in (a, b)]
    credits = np.array(
        [[rank[0].get(item, len(a) + 1) - rank[1].get(item, len(b) + 1) for item in items] for items in lists], float
    )
    blind = np.vstack([credits.T, np.ones(len(lists))])
    wanted = np.zeros(len(blind))
    wanted[-1] = 1
    solved = linprog(-_sensitivity(credits), A_eq=blind, b_eq=wanted, bounds=(0, 1), method="highs")
    if solved.status != 0:
        raise InputError(f"No fair mixture of lists was found: {solved.message}.", "Interleave these by team draft.")
    probabilities = np.maximum(solved.x, 0)
    return lists, credits, probabilities / probabilities.sum()


def _prefixed(a: Ranking, b: Ranking, k: int) -> list[tuple[str, ...]]:
    """Lists whose every beginning is made of beginnings of a and b."""
    lists: dict[tuple[str, ...], None] = {(): None}
    for _ in range(k):
        longer: dict[tuple[str, ...], None] = {}
        for items in lists:
            for ranking in (a, b):
                following = next((item for item in ranking if item not in items), None)
                if following is not None:
                    longer[(*items, following)] = None
        if not longer:
            break
        lists = longer
    return list(lists)


def _sensitivity(credits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Entropy of whom the click of a blind reader speaks for, ``[m]``; places are clicked as 1 over their rank."""
    attention = 1 / np.arange(1, credits.shape[1] + 1)
    attention /= attention.sum()
    for_a, for_b = (attention * (credits < 0)).sum(axis=1), (attention * (credits > 0)).sum(axis=1)
    decided = np.where(for_a + for_b > 0, for_a + for_b, 1)
    parts = np.stack([for_a, for_b]) / decided
    entropy = -(parts * np.log2(np.where(parts > 0, parts, 1))).sum(axis=0)
    return np.asarray(decided * entropy)
