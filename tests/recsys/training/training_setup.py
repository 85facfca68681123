"""A tiny CLIP tower over the tiny world, prepared for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.towers.base import item_texts
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.training.optimizer import OptimizerConfig
from recsys.training.prepared import PreparedItems
from recsys.training.trainer import TrainerConfig

MODEL = ClipConfig(
    text=TextConfig(max_tokens=16, vocab_size=500, width=32, layers=1, heads=2),
    image=ImageConfig(pixels=32, patch=16, width=32, layers=1, heads=2),
    width=16,
)
CONFIG = TrainerConfig(
    steps=40,
    optimizer=OptimizerConfig(warmup_steps=5),
    evaluate_every=10,
    items_per_batch=16,
    anchors_per_batch=6,
    patience=9,
)


def fresh_tower(world: Dataset, config: ClipConfig = MODEL) -> ClipTower:
    torch.manual_seed(0)
    return ClipTower.create(config, [text for text in item_texts(world.items) if text])


def prepared(world: Dataset, tower: ClipTower, work: Path) -> PreparedItems:
    work.mkdir(exist_ok=True)
    none = Captions.of(world, np.empty(0, np.int32))
    return PreparedItems.prepare(world, tower, work / ".pixels.npy", work / ".cache", none)
