"""Labelled requests where only engagements were logged: candidates are retrieved, the next engagement is the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.features.requests import RankingRequests
from recsys.ranking.training_set import PAD, LabelledRequests
from recsys.retrieval.base import CandidateSource
from recsys.retrieval.fusion import Fused, reciprocal_rank_fusion
from recsys.retrieval.quota import quota_merge
from recsys.types import NO_ROW, Candidates, Histories


class RetrievalConfig(BaseConfig):
    """How candidates for the ranker are found, in training as in serving."""

    per_source: int = Field(200, ge=1)
    candidates: int = Field(200, ge=1)  # after fusion
    weights: dict[str, float] = Field(default={})  # of sources in the fusion; 1 where not given
    quotas: dict[str, Annotated[int, Field(ge=1)]] = Field(default={})  # places of a source; merged by them where given

    @model_validator(mode="after")
    def _quotas_have_room(self) -> RetrievalConfig:
        if sum(self.quotas.values()) > self.candidates:
            raise ValueError(f"quotas ask for {sum(self.quotas.values())} places of {self.candidates} candidates")
        return self


def retrieve(sources: Sequence[CandidateSource], histories: Histories, config: RetrievalConfig) -> Fused:
    """Ask every source and make one list of the answers."""
    return merge([source.retrieve(histories, config.per_source) for source in sources], config, config.candidates)


def merge(lists: Sequence[Candidates], config: RetrievalConfig, k: int) -> Fused:
    """The k best by the quotas that the config gives; without any, by reciprocal ranks and its weights."""
    if config.quotas:
        return quota_merge(lists, k, config.quotas)
    return reciprocal_rank_fusion(lists, k, config.weights)


def from_retrieved(
    label: Interactions, history: Interactions, sources: Sequence[CandidateSource], config: RetrievalConfig
) -> LabelledRequests:
    """One request per engagement in ``label``; the item engaged with has grade 1, every other candidate 0.

    Nothing is added to what was retrieved: a request whose item was not found is dropped and counted, since no ranker
    could have saved it. Negatives are items that *would* have been offered, not items somebody declined.

    Args:
        label: the engagements to predict, which the sources have not seen.
        history: all engagements before and among ``label``; over the same maps.
        sources: fitted on what came before ``label``.
        config: see :class:`RetrievalConfig`.
    """
    histories = history.histories_before(label.users, label.times, max(len(history), 1))
    rows = retrieve(sources, histories, config).rows
    hit = rows == label.items[:, None]
    labels = np.where(rows == NO_ROW, PAD, hit).astype(np.int8)
    labelled = LabelledRequests(RankingRequests(histories, label.users, None, rows), labels, None, "retrieved", {})
    found = hit.any(axis=1)
    dropped = {"requests whose item was not retrieved": int((~found).sum())}
    kept = labelled.where(found)
    return LabelledRequests(kept.requests, kept.labels, None, "retrieved", dropped)


def last_of_each_user(users: np.ndarray) -> np.ndarray:
    """Which requests are their user's last, bool ``[n]``: the ranker's validation set.

    Args:
        users: user rows, oldest request of a user first.
    """
    last = np.zeros(len(users), np.bool_)
    _, from_end = np.unique(users[::-1], return_index=True)
    last[len(users) - 1 - from_end] = True
    return last
