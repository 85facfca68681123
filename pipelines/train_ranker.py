"""Job: a ranker trained on what was shown and not clicked or, where nothing was logged, on retrieved negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from recsys.artifacts import Artifact, ArtifactStore, made_from
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import Split, SplitConfig, split_events
from recsys.embeddings.encode import open_tables
from recsys.evaluation.plots import contribution_swarm
from recsys.ranking.impressions import from_impressions, latest
from recsys.ranking.lightgbm_ranker import LightGBMRanker, LightGBMRankerConfig
from recsys.ranking.retrieved import from_retrieved, last_of_each_user
from recsys.ranking.training_set import LabelledRequests, TrainingSet, training_set
from recsys.retrieval.user_tower import USER_TOWER
from recsys.serving.cascade import Cascade, CascadeConfig, is_logged

KIND, VERSION = "ranker", 3
CONTRIBUTIONS = "contributions.png"
DRAWN = 500
"""Candidates whose contributions are drawn."""


class RankerJobConfig(BaseConfig):
    """Everything that decides a ranker."""

    model: LightGBMRankerConfig = LightGBMRankerConfig()
    cascade: CascadeConfig = CascadeConfig()
    split: SplitConfig = SplitConfig()
    negatives_per_request: int | None = Field(default=None, ge=1)  # of the retrieved ones; default: all
    as_new_share: float = Field(default=0.0, ge=0, lt=1)  # see `recsys.ranking.training_set.training_set`
    validation_share: float = Field(default=0.15, gt=0, lt=1)  # of the logged requests, the latest


def train_ranker(
    store: ArtifactStore,
    dataset: Artifact,
    embeddings: Artifact,
    config: RankerJobConfig,
    user_tower: Artifact | None = None,
) -> tuple[Artifact, bool]:
    """Sources learn from ``fit``, the ranker from ``label``; the test is not touched.

    Args:
        store: where it is kept.
        dataset: to learn from.
        embeddings: of its items.
        config: see there.
        user_tower: a source beside the others, trained on ``fit``.

    Raises:
        ArtifactError: the embeddings are those of another data set, or the user tower was trained on others.
    """
    made_from(embeddings, {"dataset": dataset}, "Run `recsys embed` first.")
    parents = {"dataset": dataset, "embeddings": embeddings}
    if user_tower is not None:
        made_from(user_tower, parents, "Run `recsys train-user-tower` first.")

    def build(work: Path) -> dict[str, Any]:
        data = Dataset(dataset.path)
        split = split_events(data.events, config.split)
        history = Interactions.of(split.before_test, data.ids)
        tables = open_tables(embeddings.path)
        logged = is_logged(split.fit) and is_logged(split.label)
        cascade = Cascade.fit(
            data,
            split.fit,
            split.before_test,
            history.users_map,
            tables,
            config.cascade,
            logged,
            user_tower=user_tower.path if user_tower is not None else None,
        )
        labelled = _labelled(split, history, cascade, config, logged)
        held_out = latest(labelled, config.validation_share) if logged else last_of_each_user(labelled.requests.users)
        train, validation = (
            training_set(part, cascade.assembler, config.negatives_per_request, config.as_new_share)
            for part in (labelled.where(~held_out), labelled.where(held_out))
        )
        ranker, metrics = LightGBMRanker.fit(train, validation, config.model)
        ranker.save(work)
        (work / CONTRIBUTIONS).write_bytes(_drawn(ranker, validation))
        return metrics | {"dropped": labelled.dropped, "features": len(train.names)}

    with_tower = {USER_TOWER: user_tower} if user_tower is not None else {}
    return store.build(KIND, VERSION, config, parents | with_tower, build)


def user_tower_of(store: ArtifactStore, ranker: Artifact) -> Artifact | None:
    """The user tower that a ranker hears, if it does: whoever uses the ranker needs the same."""
    key = ranker.manifest.parents.get(USER_TOWER)
    return store.get(USER_TOWER, key) if key is not None else None


def learns_from_impressions(ranker: Artifact) -> bool:
    """Whether its features are counters of logged impressions, which whoever uses it must compute too."""
    return bool(ranker.manifest.metrics["negatives"] == "impressions")


def _drawn(ranker: LightGBMRanker, examples: TrainingSet) -> bytes:
    """What each feature adds to the scores of some candidates, chosen at random."""
    chosen = np.random.default_rng(0).permutation(len(examples.features))[:DRAWN]
    features = examples.features[chosen]
    features = features[~np.isnan(features).all(axis=1)]
    return contribution_swarm(ranker.names, features, ranker.contributions(features[None])[0, :, :-1])


def _labelled(
    split: Split, history: Interactions, cascade: Cascade, config: RankerJobConfig, logged: bool
) -> LabelledRequests:
    if logged:
        return from_impressions(split.label, history)
    label = Interactions.of(split.label, history.items_map, history.users_map)
    new = ~np.isin(_pairs(label), _pairs(Interactions.of(split.fit, history.items_map, history.users_map)))
    return from_retrieved(label.where(new), history, list(cascade.asked.values()), cascade.retrieval)


def _pairs(interactions: Interactions) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return interactions.users.astype(np.int64) * len(interactions.items_map) + interactions.items
