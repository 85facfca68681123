"""TrainingSet: features, labels and logged positions of many requests, ready for a ranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys.exceptions import DataError
from recsys.features.assembler import FeatureAssembler
from recsys.features.requests import RankingRequests
from recsys.progress import track
from recsys.types import NO_ROW, FloatArray

Negatives = Literal["impressions", "retrieved"]

PAD = NO_ROW
"""Label and position where there is no candidate."""
REQUESTS_PER_BLOCK = 512


@dataclass(frozen=True, eq=False)
class LabelledRequests:
    """Requests whose outcome is known.

    Attributes:
        requests: n requests of up to m candidates.
        labels: grade of each candidate, int8 ``[n, m]``, 0 = not wanted, ``PAD`` where there is none.
        positions: where it was shown, int32 ``[n, m]``, 0 = top; ``None`` where nothing was shown.
        negatives: what a label of 0 means: shown and not clicked, or retrieved and not engaged with.
        dropped: reason -> number of requests (or candidates, where it says so) left out.
    """

    requests: RankingRequests
    labels: npt.NDArray[np.int8]
    positions: npt.NDArray[np.int32] | None
    negatives: Negatives
    dropped: dict[str, int]

    def where(self, keep: npt.NDArray[np.bool_]) -> LabelledRequests:
        """The requests where ``keep`` ``[n]`` holds."""
        return self.take(np.flatnonzero(keep))

    def take(self, index: npt.NDArray[np.int64]) -> LabelledRequests:
        """The requests at these places; counts of the dropped stay."""
        times = self.requests.times
        requests = RankingRequests(
            self.requests.histories.take(index),
            self.requests.users[index],
            None if times is None else times[index],
            self.requests.rows[index],
        )
        positions = None if self.positions is None else self.positions[index]
        return LabelledRequests(requests, self.labels[index], positions, self.negatives, self.dropped)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What a ranker learns from.

    Attributes:
        names: of the features.
        features: float32 ``[rows, len(names)]``, the requests one after another, without padding.
        labels: int8 ``[rows]``.
        groups: candidates per request, int32 ``[n]``.
        positions: int32 ``[rows]``, or ``None``.
        negatives: see :class:`LabelledRequests`.
    """

    names: Sequence[str]
    features: FloatArray
    labels: npt.NDArray[np.int8]
    groups: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32] | None
    negatives: Negatives


def training_set(
    labelled: LabelledRequests,
    assembler: FeatureAssembler,
    negatives_per_request: int | None = None,
    as_new_share: float = 0.0,
    seed: int = 0,
) -> TrainingSet:
    """Compute the features of labelled requests.

    Args:
        labelled: the requests. Features are computed over all of their candidates, then negatives are thinned out.
        assembler: makes the features, as it will when serving.
        negatives_per_request: keep a random choice of this many candidates of label 0; ``None`` = all.
        as_new_share: over 0, every request is learned from a second time, with this share of its candidates described
            as if nobody had met them: what was logged shows few items that are new, and almost none that nobody found
            (dropout of what is known, Volkovs et al. 2017).
        seed: of both choices.

    Raises:
        DataError: no requests.
    """
    if len(labelled.requests) == 0:
        raise DataError(f"No request is left to learn from; dropped: {labelled.dropped}.", "Use more or other events.")
    generator = np.random.default_rng(seed)
    if as_new_share > 0:
        labelled = _twice(labelled, generator.random(labelled.labels.shape) < as_new_share)
    features, kept = [], []
    blocks = list(labelled.requests.blocks(REQUESTS_PER_BLOCK))
    for block, requests in track(blocks, "Ranking features, blocks of requests"):
        keep = labelled.labels[block] != PAD
        if negatives_per_request is not None:
            lottery = np.where(labelled.labels[block] == 0, generator.random(keep.shape), np.inf)
            rank = np.argsort(np.argsort(lottery, axis=1), axis=1)
            keep &= (labelled.labels[block] > 0) | (rank < negatives_per_request)
        features.append(assembler.assemble(requests)[keep])
        kept.append(keep)
    mask = np.concatenate(kept)
    return TrainingSet(
        assembler.names,
        np.concatenate(features),
        labelled.labels[mask],
        mask.sum(axis=1).astype(np.int32),
        None if labelled.positions is None else labelled.positions[mask],
        labelled.negatives,
    )


def _twice(labelled: LabelledRequests, as_new: npt.NDArray[np.bool_]) -> LabelledRequests:
    """The requests, and behind them the same with some candidates ``as_new``."""
    n = len(labelled.requests)
    doubled = labelled.take(np.arange(2 * n) % n)
    as_new = np.concatenate([np.zeros_like(as_new), as_new])
    return replace(doubled, requests=replace(doubled.requests, as_new=as_new))


def pad_groups(
    groups: npt.NDArray[np.int64], values: npt.NDArray[np.int64], n: int, fill: int
) -> npt.NDArray[np.int64]:
    """Values of ascending group numbers as one row per group, ``[n, longest]``, ``fill`` behind the end."""
    counts = np.bincount(groups, minlength=n)
    padded = np.full((n, max(int(counts.max(initial=0)), 1)), fill, np.int64)
    padded[groups, np.arange(len(groups)) - (np.cumsum(counts) - counts)[groups]] = values
    return padded
