"""Captions: short texts about items, taken from judged queries, for a tower to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.types import NO_ROW, RowArray

NO_CAPTION = -1
"""Where an item has none."""


@dataclass(frozen=True, eq=False)
class Captions:
    """Texts, and which of them belong to which item (compressed rows). One text may belong to several items.

    Attributes:
        texts: each judged query once; a caption's *number* is its position here.
        languages: of each text, ``None`` where it is unknown.
        offsets: int64 ``[items + 1]``; item i owns the slice ``offsets[i]:offsets[i + 1]`` of ``order``.
        order: caption numbers, int64 ``[total]``.
    """

    texts: list[str]
    languages: list[str | None]
    offsets: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]

    @classmethod
    def of(cls, data: Dataset, rows: RowArray, languages: Sequence[str] | None = None) -> Captions:
        """Queries with a grade above 0 for the items at ``rows``; those of all other items are left out.

        Args:
            data: its judged queries; every row of its catalogue has a place in ``offsets``.
            rows: items to learn from.
            languages: keep queries in these only; default: in any, or in none that is named.
        """
        items = pl.DataFrame({schemas.ITEM_ID: data.ids.externals(rows)}, {schemas.ITEM_ID: pl.String}).unique()
        kept = pl.col(schemas.GRADE) > 0
        if languages is not None:
            kept &= pl.col(schemas.LANGUAGE).is_in(list(languages))
        judged = data.queries.filter(kept).join(items, on=schemas.ITEM_ID, how="semi", maintain_order="left")
        identity = [schemas.QUERY_ID, schemas.QUERY, schemas.LANGUAGE]
        captions = judged.select(identity).unique(maintain_order=True)
        numbers = judged.join(
            captions.with_row_index("number"), on=identity, how="left", nulls_equal=True, maintain_order="left"
        )["number"]
        owners = data.ids.rows(judged[schemas.ITEM_ID])
        counts = np.bincount(owners, minlength=len(data.ids))
        return cls(
            captions[schemas.QUERY].to_list(),
            captions[schemas.LANGUAGE].to_list(),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            numbers.to_numpy().astype(np.int64)[np.argsort(owners, kind="stable")],
        )

    def __len__(self) -> int:
        return len(self.texts)

    def captions_of(self, row: int) -> npt.NDArray[np.int64]:
        """Numbers of one item's captions."""
        return self.order[self.offsets[row] : self.offsets[row + 1]]

    def draw(self, rows: RowArray, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """One caption number per item, each of its captions equally likely, ``[n]``; ``NO_CAPTION`` where it has none.

        Args:
            rows: of n items, in any order and repeated at will; ``NO_ROW`` has no caption.
            random: gives one number per row, whatever the row holds.
        """
        starts = self.offsets[rows]
        counts = np.where(rows == NO_ROW, 0, self.offsets[rows + 1] - starts)
        places = starts + (random.random(len(rows)) * counts).astype(np.int64)
        drawn = np.full(len(rows), NO_CAPTION, np.int64)
        drawn[counts > 0] = self.order[places[counts > 0]]
        return drawn
