"""Parts of the catalogue on which retrieval is looked at separately: cold, long tail, missing modality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys import schemas

EVERYTHING = "all"
HEAD_SHARE = 0.8
FEW_ENGAGEMENTS = 5
POOR_TEXT_CHARACTERS = 12


@dataclass(frozen=True, eq=False)
class ItemSlice:
    """A named part of the catalogue.

    Attributes:
        name: short, for tables.
        description: what belongs to it, in words.
        items: bool ``[n_items]``.
    """

    name: str
    description: str
    items: npt.NDArray[np.bool_]


def catalogue_slices(
    engagements: npt.NDArray[np.int64], pictures: npt.NDArray[np.integer], characters: npt.NDArray[np.integer]
) -> list[ItemSlice]:
    """The standard slices; those without a single item are left out.

    Args:
        engagements: number of users who engaged with each item before the test, ``[n_items]``.
        pictures: number of pictures of each item, ``[n_items]``.
        characters: length of each item's text, ``[n_items]``; see :func:`text_characters`.
    """
    slices = [
        ItemSlice("cold", "no engagement before the test", engagements == 0),
        ItemSlice(
            "nearly cold", f"fewer than {FEW_ENGAGEMENTS} engagements before the test", engagements < FEW_ENGAGEMENTS
        ),
        ItemSlice("long tail", f"outside the head that makes {HEAD_SHARE:.0%} of engagements", ~head(engagements)),
        ItemSlice("no picture", "items without a picture", pictures == 0),
        ItemSlice(
            "poor text", f"fewer than {POOR_TEXT_CHARACTERS} characters of text", characters < POOR_TEXT_CHARACTERS
        ),
    ]
    return [part for part in slices if part.items.any()]


def head(engagements: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The fewest items that together make :data:`HEAD_SHARE` of all engagements; ties go to the lower row."""
    order = np.argsort(-engagements, kind="stable")
    before = np.cumsum(engagements[order]) - engagements[order]
    inside = np.zeros(len(engagements), dtype=bool)
    inside[order] = before < HEAD_SHARE * engagements.sum()
    return inside


def text_characters(items: pl.DataFrame) -> npt.NDArray[np.integer]:
    """Number of characters of title and text of each item, ``[n_items]``; 0 where both are missing."""
    return (
        items.select(pl.sum_horizontal(pl.col(schemas.TITLE, schemas.TEXT).str.len_chars().fill_null(0)))
        .to_series()
        .to_numpy()
    )
