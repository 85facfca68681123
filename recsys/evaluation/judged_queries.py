"""Judged queries of a data set: the texts, and which items are how relevant to each."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.evaluation.judgements import Judgements


@dataclass(frozen=True, eq=False)
class JudgedQueries:
    """Texts of q queries and the judgements of them."""

    texts: list[str]
    judgements: Judgements

    @classmethod
    def of(cls, data: Dataset, most: int, seed: int = 0) -> JudgedQueries:
        """Queries to which some item is relevant, in the order of the data set.

        Args:
            data: the data set; may have no queries.
            most: where there are more, so many are drawn.
            seed: of the draw.
        """
        judged = data.queries.filter(pl.col(schemas.GRADE) > 0)
        ids = judged[schemas.QUERY_ID].unique(maintain_order=True)
        if len(ids) > most:
            ids = ids.sample(most, seed=seed)
        grouped = (
            judged.filter(pl.col(schemas.QUERY_ID).is_in(ids.implode()))
            .group_by(schemas.QUERY_ID, maintain_order=True)
            .agg(pl.col(schemas.QUERY).first(), schemas.ITEM_ID, schemas.GRADE)
        )
        items = [data.ids.rows(found).tolist() for found in grouped[schemas.ITEM_ID].to_list()]
        return cls(grouped[schemas.QUERY].to_list(), Judgements.of(items, grouped[schemas.GRADE].to_list()))

    def __len__(self) -> int:
        return len(self.texts)
