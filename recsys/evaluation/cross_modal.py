"""Text -> image and image -> text recall, with as many captions per image as there are.

Text -> image: every caption is a query. Image -> text: an image is right if *any* of its captions is among the first k
(all captions compete and all its own count), the protocol of the Flickr and COCO tables. Ties are won by chance alone,
see :mod:`recsys.evaluation.ranks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.evaluation.judgements import Judgements
from recsys.evaluation.metrics import Values
from recsys.evaluation.ranks import BestRanks, Counts, best_ranks
from recsys.types import FloatArray

CUT_OFFS = (1, 5, 10)


@dataclass(frozen=True, eq=False)
class CrossModal:
    """One direction: how n queries fared, and what chance would have given them.

    Attributes:
        ranks: of each query's best right answer.
        chance: the same, had the scores said nothing.
        clusters: queries about one image belong together, ``[n]``; for intervals.
    """

    ranks: BestRanks
    chance: BestRanks
    clusters: Counts

    def recalls(self) -> dict[str, Values]:
        """R@1, R@5 and R@10 per query; ``nan`` for a query without a right answer."""
        return {f"recall@{k}": self.ranks.hits(k) for k in CUT_OFFS}

    def expected_by_chance(self) -> dict[str, float]:
        """Mean of the same figures for an encoder that maps everything to one point."""
        hits = {f"recall@{k}": self.chance.hits(k) for k in CUT_OFFS}
        return {name: float(np.nanmean(values)) for name, values in hits.items() if not np.isnan(values).all()}


def text_to_image(texts: FloatArray, images: FloatArray, right: Judgements) -> CrossModal:
    """Every caption searches its image.

    Args:
        texts: unit vectors of the captions, ``[n, d]``.
        images: unit vectors ``[m, d]``; zero where there is no image to find.
        right: rows of the images that each caption is about; usually one.
    """
    ranks = best_ranks(texts, images, right)
    first = np.full(len(right), -1, np.int64)
    given = np.diff(right.offsets) > 0
    first[given] = right.items[right.offsets[:-1][given]]
    return CrossModal(ranks, BestRanks.by_chance(right, len(images)), first)


def image_to_text(texts: FloatArray, images: FloatArray, right: Judgements) -> CrossModal:
    """Every image searches its captions; arguments as in :func:`text_to_image`. Images without any are left out."""
    captions = transposed(right, len(images))
    return CrossModal(
        best_ranks(images, texts, captions), BestRanks.by_chance(captions, len(texts)), np.arange(len(images))
    )


def transposed(right: Judgements, n_items: int) -> Judgements:
    """The captions of each image, from the images of each caption."""
    order = np.argsort(right.items, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(right.items, minlength=n_items))]).astype(np.int64)
    return Judgements(offsets, right.requests[order].astype(np.int32), right.grades[order])
