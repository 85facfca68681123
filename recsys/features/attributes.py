"""Features from item attributes: does the candidate share author, category, language and tags with the user's past?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from recsys import schemas
from recsys.features.requests import RankingRequests
from recsys.retrieval.matrix import decayed_profiles
from recsys.types import FloatArray

FACETS = (schemas.CATEGORY, schemas.AUTHOR_ID, schemas.LANGUAGE, schemas.TAGS)
MILLISECONDS_PER_DAY = 86_400_000


class AttributeAffinity:
    """Per facet, cosine of the candidate's values with those of the user's last items; and the candidate's age.

    The user's side is the decayed sum over the last ``last`` items. Facets no item has are left out; NaN where the
    candidate has no value. ``age_days`` stands where items have a creation time; NaN without a clock in the request.

    Args:
        items: the catalogue, in row order, columns of :data:`recsys.schemas.ITEMS`.
        last: number of recent items.
        decay: per item further back.
    """

    def __init__(self, items: pl.DataFrame, last: int = 50, decay: float = 0.95) -> None:
        self.last, self.decay = last, decay
        self._facets = {facet: _indicator(items, facet) for facet in FACETS if items[facet].null_count() < len(items)}
        created = items[schemas.CREATED_AT]
        self._created: npt.NDArray[np.float64] | None = None
        if created.null_count() < len(items):
            self._created = created.dt.epoch("ms").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        self.names = [f"affinity:{facet}" for facet in self._facets] + ["age_days"] * (self._created is not None)

    def compute(self, requests: RankingRequests) -> FloatArray:
        rows = np.maximum(requests.rows, 0)
        columns = [self._affinity(indicator, requests) for indicator in self._facets.values()]
        if self._created is not None:
            now = np.full(len(requests), np.nan) if requests.times is None else requests.times
            columns.append(((now[:, None] - self._created[rows]) / MILLISECONDS_PER_DAY).astype(np.float32))
        return np.stack(columns, axis=-1) if columns else np.empty((*rows.shape, 0), np.float32)

    def _affinity(self, indicator: sparse.csr_array, requests: RankingRequests) -> FloatArray:
        profiles = decayed_profiles(requests.histories, indicator.shape[0], self.last, self.decay) @ indicator
        norms = np.sqrt(profiles.multiply(profiles).sum(axis=1))
        n, m = requests.rows.shape
        candidates = indicator[np.maximum(requests.rows, 0).ravel()]
        shared = candidates.multiply(profiles[np.repeat(np.arange(n), m)]).sum(axis=1).reshape(n, m)
        cosine = shared / np.maximum(norms, 1e-6)[:, None]
        valued = np.diff(indicator.indptr) > 0
        return np.where(valued[np.maximum(requests.rows, 0)], cosine, np.nan).astype(np.float32)


def _indicator(items: pl.DataFrame, facet: str) -> sparse.csr_array:
    """Which values an item has, rows of unit length: float32 ``[items, values]``."""
    values = items.select(pl.int_range(pl.len()).alias(schemas.ROW), facet)
    if isinstance(items.schema[facet], pl.List):
        values = values.explode(facet)
    values = values.drop_nulls().unique().sort(schemas.ROW, facet)
    codes = values[facet].rank("dense").to_numpy().astype(np.int64) - 1
    rows = values[schemas.ROW].to_numpy()
    counts = np.bincount(rows, minlength=len(items))
    weights = (1 / np.sqrt(counts[rows])).astype(np.float32)
    return sparse.csr_array((weights, (rows, codes)), shape=(len(items), int(codes.max(initial=-1)) + 1))
