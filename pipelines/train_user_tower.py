"""Job: a user tower, trained on what users engaged with one after another, with the vectors it gives the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.artifacts import Artifact, ArtifactStore, made_from
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import SplitConfig, split_events
from recsys.embeddings.encode import open_content
from recsys.retrieval.user_tower import TABLE, USER_TOWER
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.training.user_trainer import UserTrainerConfig, train_user_tower

KIND, VERSION = USER_TOWER, 2


class UserTowerJobConfig(BaseConfig):
    """Everything that decides a user tower."""

    model: UserTowerConfig = UserTowerConfig()
    trainer: UserTrainerConfig = UserTrainerConfig()
    split: SplitConfig = SplitConfig()


def make_user_tower(
    store: ArtifactStore, dataset: Artifact, embeddings: Artifact, config: UserTowerJobConfig
) -> tuple[Artifact, bool]:
    """Train on what lies before the ranker's labels, as the item tower does, and encode the catalogue.

    Raises:
        ArtifactError: the embeddings are those of another data set.
        DataError: there is nothing to learn.
    """
    made_from(embeddings, {"dataset": dataset}, "Run `recsys embed` first.")

    def build(work: Path) -> dict[str, Any]:
        data = Dataset(dataset.path)
        learned = Interactions.of(split_events(data.events, config.split).fit, data.ids)
        content = open_content(embeddings.path)
        trained = data.ids.of_rows(np.flatnonzero(learned.item_counts()))
        torch.manual_seed(config.trainer.seed)
        tower = UserTower(content.width, trained, config.model, content.fingerprint)
        progress = train_user_tower(tower, content, learned, config.trainer, work)
        tower.save(work)
        tower.item_table(content).save(work / TABLE)
        return {
            "history": progress.history,
            "kept": progress.kept,
            "skipped_steps": progress.skipped,
            "trained_items": len(trained),
            "parameters": sum(parameter.numel() for parameter in tower.parameters()),
        }

    return store.build(KIND, VERSION, config, {"dataset": dataset, "embeddings": embeddings}, build)
