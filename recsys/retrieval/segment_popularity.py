"""Segment popularity source: what is popular with users who share an attribute, or among the items a user favours."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from scipy import sparse

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.exceptions import ConfigError
from recsys.retrieval.filters import column_of
from recsys.retrieval.matrix import MatrixSource, decayed_profiles
from recsys.retrieval.popularity import PopularityConfig, age_weights
from recsys.types import NO_ROW, FloatArray, Histories, IdMap

NO_SEGMENT = -1


class SegmentPopularityConfig(PopularityConfig):
    """What divides, and from how many engagements on a segment speaks for itself."""

    of: Literal["users", "items"] = "items"  # whose attribute it is
    attribute: str = schemas.CATEGORY  # a column of theirs, or a key of their attributes
    min_engagements: int = Field(100, ge=1)  # in the window; with fewer, what is popular with everyone is proposed
    last: int = Field(20, ge=1)  # items: newest engagements that say which value the user favours
    decay: float = Field(0.9, gt=0, le=1)  # items: per engagement further back


class SegmentPopularitySource(MatrixSource):
    """Number of users per item, counted within the user's segment.

    By an attribute of users, these are the users with the same value: a newcomer whose language is known gets what
    speakers of it like. By one of items, these are the items with the value that weighs most among the user's last.
    Where the segment is not known, or too small, everyone is counted.

    Args:
        interactions: what to count.
        table: the users or the items, as ``config.of`` says: a data set's, in any order for users, in row order for
            items.
        config: see :class:`SegmentPopularityConfig`.
        name: of the source.

    Raises:
        ConfigError: there is no such attribute, or it is a list.
    """

    def __init__(
        self, interactions: Interactions, table: pl.DataFrame, config: SegmentPopularityConfig, name: str
    ) -> None:
        super().__init__(name, len(interactions.items_map))
        self.config = config
        column, kind = column_of(table, config.attribute, config.of.capitalize())
        if isinstance(kind, pl.List):
            raise ConfigError(f"{config.attribute} is a list, which puts one in several segments.", "Name another.")
        values = table.select(column.cast(pl.String)).to_series()
        names = values.drop_nulls().unique().sort()
        codes = np.where(values.is_null(), NO_SEGMENT, IdMap.of(names).rows(values.fill_null("")))
        if config.of == "users":
            place = IdMap.of(table[schemas.USER_ID]).rows(interactions.users_map.strings)
            codes = np.append(codes, NO_SEGMENT)[place]  # the last place is that of users the table does not have
        self._codes: npt.NDArray[np.int64] = codes.astype(np.int64)
        of_each = self._codes[interactions.users if config.of == "users" else interactions.items]
        weights = age_weights(interactions, config)
        sizes = np.bincount(of_each[(of_each >= 0) & (weights > 0)], minlength=len(names))
        self._speaks = np.append(sizes >= config.min_engagements, False)  # the last one is NO_SEGMENT
        segment = np.where(self._speaks[of_each], of_each, len(names))
        shape = (len(names) + 1, self.n_items)
        within = sparse.coo_array((weights, (segment, interactions.items)), shape=shape).tocsr()
        everyone = np.bincount(interactions.items, weights, self.n_items)
        self.counts = sparse.csr_array(sparse.vstack([within[:-1], everyone[None]]), dtype=np.float32)

    def score_all(self, histories: Histories) -> FloatArray:
        return np.asarray(self.counts[self.segments(histories)].toarray(), dtype=np.float32)

    def segments(self, histories: Histories) -> npt.NDArray[np.int64]:
        """Number of each user's segment in alphabetical order of the values; after the last one, everyone's."""
        found = self._of_users(histories) if self.config.of == "users" else self._favoured(histories)
        return np.where(self._speaks[found], found, len(self._speaks) - 1)

    def _of_users(self, histories: Histories) -> npt.NDArray[np.int64]:
        if histories.users is None:
            return np.full(len(histories), NO_SEGMENT)
        return np.where(histories.users == NO_ROW, NO_SEGMENT, self._codes[histories.users])

    def _favoured(self, histories: Histories) -> npt.NDArray[np.int64]:
        profiles = decayed_profiles(histories, self.n_items, self.config.last, self.config.decay)
        valued = np.flatnonzero(self._codes >= 0)
        ones = np.ones(len(valued), np.float32)
        shape = (self.n_items, len(self._speaks) - 1)
        weights = (profiles @ sparse.csr_array((ones, (valued, self._codes[valued])), shape=shape)).toarray()
        if weights.shape[1] == 0:
            return np.full(len(histories), NO_SEGMENT)
        return np.where(weights.any(axis=1), weights.argmax(axis=1), NO_SEGMENT)
