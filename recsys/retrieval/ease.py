"""EASE source: a linear model, fitted in closed form, from all that a user engaged with to what goes with it."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import linalg, sparse

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.retrieval.linear import LinearSource


class EaseConfig(BaseConfig):
    """How strongly the model is held back, and how much of the history asks."""

    ridge: float = Field(500.0, gt=0)
    last: int = Field(50, ge=1)  # newest engagements that ask
    decay: float = Field(0.9, gt=0, le=1)  # per engagement further back
    max_items: int = Field(8000, ge=1)  # most engaged items it knows


class EaseSource(LinearSource):
    """Item-item weights that best reconstruct who engaged with what, no item by itself (1905.03375), asked by recency.

    B = I - P / diag(P) with P = (X'X + ridge I)^-1 and X the users' engagements. The paper asks with all of a user's
    history alike; here an engagement counts less the longer it is ago.

    Args:
        interactions: what to learn from.
        config: see :class:`EaseConfig`.
        name: of the source.
    """

    def __init__(self, interactions: Interactions, config: EaseConfig, name: str = "ease") -> None:
        counts = interactions.item_counts()
        super().__init__(name, counts, config.max_items, config.last, config.decay)
        shape = (len(interactions.users_map), len(counts))
        ones = np.ones(len(interactions), np.float64)
        engaged = sparse.csr_array((ones, (interactions.users, interactions.items)), shape=shape)[:, self.known]
        gram = (engaged.T @ engaged).toarray()
        gram[np.diag_indices_from(gram)] += config.ridge
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        self.weights = weights.astype(np.float32)
