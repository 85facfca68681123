"""FeatureAssembler: the one code path from requests to the feature matrix, offline and online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recsys.exceptions import ConfigError
from recsys.features.requests import RankingRequests
from recsys.types import FloatArray

VALUES_PER_BLOCK = 2**24


class FeatureGroup(Protocol):
    """Some features that are computed together."""

    @property
    def names(self) -> Sequence[str]:
        """One name per feature, unique among all groups."""
        ...

    def compute(self, requests: RankingRequests) -> FloatArray:
        """Values float32 ``[n, m, features]``; NaN = unknown; anything where there is no candidate."""
        ...


class FeatureAssembler:
    """Features of every candidate of every request, group after group.

    Args:
        groups: in the order of the features.

    Raises:
        ConfigError: two features have one name.
    """

    def __init__(self, groups: Sequence[FeatureGroup]) -> None:
        self.groups = list(groups)
        self.names = [name for group in groups for name in group.names]
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise ConfigError(
                f"Two features are called {doubled[0]!r}.", "Give the sources and tables different names."
            )

    def assemble(self, requests: RankingRequests) -> FloatArray:
        """Features float32 ``[n, m, len(names)]``, NaN where unknown or where there is no candidate."""
        n, m = requests.rows.shape
        features = np.empty((n, m, len(self.names)), np.float32)
        for block, some in requests.blocks(max(1, VALUES_PER_BLOCK // max(m * len(self.names), 1))):
            start = 0
            for group in self.groups:
                stop = start + len(group.names)
                features[block, :, start:stop] = group.compute(some)
                start = stop
        features[requests.padded] = np.nan
        return features
