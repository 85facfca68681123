"""Captions that a tower wrote for items with poor text, added to those that people wrote."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys import schemas
from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.types import RowArray


def with_synthetic(captions: Captions, data: Dataset, written: pl.DataFrame, rows: RowArray) -> Captions:
    """Captions of people and those of a tower that were kept; numbers of the former stay as they are.

    Args:
        captions: of people.
        data: the catalogue.
        written: ``item_id``, ``caption`` and ``kept``, as ``recsys capfilt`` writes them.
        rows: items to learn from; what was written of others is left out.
    """
    learned = pl.DataFrame({schemas.ITEM_ID: data.ids.externals(rows)}, {schemas.ITEM_ID: pl.String}).unique()
    added = written.filter("kept").join(learned, on=schemas.ITEM_ID, how="semi", maintain_order="left")
    owners = np.concatenate(
        [np.repeat(np.arange(len(data.ids)), np.diff(captions.offsets)), data.ids.rows(added[schemas.ITEM_ID])]
    )
    numbers = np.concatenate([captions.order, len(captions) + np.arange(len(added))])
    counts = np.bincount(owners, minlength=len(data.ids))
    return Captions(
        [*captions.texts, *added["caption"]],
        [*captions.languages, *[None] * len(added)],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        numbers.astype(np.int64)[np.argsort(owners, kind="stable")],
    )
