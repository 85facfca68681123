"""Job: a CLIP tower trained on a data set's pictures, texts and behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, PairConfig, mine_pairs
from recsys.data.reader import fingerprint
from recsys.data.splits import SplitConfig, split_events
from recsys.exceptions import ConfigError
from recsys.towers.base import item_texts
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.training.batches import PreparedItems
from recsys.training.trainer import TrainerConfig, train
from recsys.types import RowArray

KIND, VERSION = "tower", 1


class TowerConfig(BaseConfig):
    """Everything that decides a tower."""

    model: ClipConfig = ClipConfig()
    trainer: TrainerConfig = TrainerConfig()
    pairs: PairConfig = PairConfig()
    split: SplitConfig = SplitConfig()
    checkpoints: str | None = None  # filled in by the job: names, sizes and times of the checkpoints' files


def train_tower(store: ArtifactStore, dataset: Artifact, config: TowerConfig) -> tuple[Artifact, bool]:
    """Train on what lies before the ranker's labels and the test, and on nothing after it.

    Raises:
        ConfigError: a checkpoint's folder holds no model.
    """
    folders = [folder for folder in (config.model.text.checkpoint, config.model.image.checkpoint) if folder]
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder} holds no checkpoint (no config.json).", "Name a folder in the hub's format.")
    if folders:
        files = "".join(fingerprint(folder, sorted(folder.iterdir())) for folder in folders)
        config = config.model_copy(update={"checkpoints": files})

    def build(work: Path) -> dict[str, Any]:
        data = Dataset(dataset.path)
        trainable, pairs = learnable(data, config)
        texts = item_texts(data.items)
        torch.manual_seed(config.trainer.seed)
        tower = ClipTower.create(config.model, [text for row in trainable if (text := texts[row])])
        items = PreparedItems.prepare(data, tower, work / ".pixels.npy")
        history = train(tower, items, trainable, pairs, config.trainer, work)
        tower.save(work)
        best = max(history, key=lambda record: record["recall"])
        parameters = sum(parameter.numel() for parameter in tower.parameters())
        return {"history": history, "best": best, "pairs": len(pairs), "parameters": parameters}

    return store.build(KIND, VERSION, config, {"dataset": dataset}, build)


def learnable(data: Dataset, config: TowerConfig) -> tuple[RowArray, ItemPairs]:
    """Items that existed before the ranker's label window, and the behaviour pairs of that time.

    A data set without events has no pairs; its tower learns from pictures and texts alone.
    """
    everything = np.arange(len(data.ids), dtype=np.int32)
    if data.events.is_empty():
        return everything, mine_pairs(Interactions.of(data.events, data.ids), config.pairs)
    split = split_events(data.events, config.split)
    pairs = mine_pairs(Interactions.of(split.fit, data.ids), config.pairs)
    if split.label_from is None:
        return everything, pairs
    exists = data.items.select((pl.col(schemas.CREATED_AT) < split.label_from).fill_null(True)).to_series()
    return everything[exists.to_numpy()], pairs
