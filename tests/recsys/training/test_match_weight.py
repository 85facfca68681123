from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_setup import prepared

from recsys.data.dataset import Dataset
from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig
from recsys.towers.base import item_texts
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.training.match_weight import HEAVIEST, fit_match_weight
from recsys.training.prepared import PreparedItems

CONFIG = BlipConfig(
    text=GroundedTextConfig(max_tokens=16, vocab_size=500, width=32, layers=1, heads=2),
    image=ImageConfig(pixels=32, patch=16, width=32, layers=1, heads=2),
    width=16,
    queue=0,
    alpha=0.0,
)
ROWS = np.arange(0, 120, 2, dtype=np.int32)


class DecidedTower(BlipTower):
    """Its head says what it is told: ``sureness`` times whether the picture is the text's own, plus noise."""

    sureness, noise = 0.0, 0.0

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        own = torch.tensor([self.picture_of[tuple(row)] for row in tokens.tolist()])
        right = (self.pictures[own] == images).flatten(1).all(dim=1)
        random = torch.Generator().manual_seed(7)
        return self.sureness * right + self.noise * torch.randn(len(tokens), generator=random)


@pytest.fixture(scope="module")
def items(world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> PreparedItems:
    return prepared(world, made(world), tmp_path_factory.mktemp("items"))


def made(world: Dataset) -> DecidedTower:
    torch.manual_seed(0)
    tower = DecidedTower.create(CONFIG, [text for text in item_texts(world.items) if text])
    assert isinstance(tower, DecidedTower)
    return tower


@torch.inference_mode()
def fitted(world: Dataset, items: PreparedItems, sureness: float, noise: float) -> float:
    tower = made(world)
    both = ROWS[items.has_image[ROWS] & items.has_text[ROWS]]
    inputs = items.inputs(both)
    tower.pictures = tower.image.states(inputs.images)
    tower.picture_of = {tuple(row): place for place, row in enumerate(inputs.tokens.tolist())}
    tower.sureness, tower.noise = sureness, noise
    fit_match_weight(tower, items, ROWS, seed=0)
    return float(tower.match_weight)


def test_a_head_that_knows_is_heard_and_one_that_guesses_is_not(world: Dataset, items: PreparedItems) -> None:
    assert fitted(world, items, sureness=5, noise=0) == pytest.approx(HEAVIEST, abs=0.01)
    assert fitted(world, items, sureness=-5, noise=0) == pytest.approx(0, abs=0.01)
    assert fitted(world, items, sureness=0, noise=5) < 0.1


def test_a_head_twice_as_sure_as_it_may_be_gets_half_the_weight(world: Dataset, items: PreparedItems) -> None:
    right = fitted(world, items, sureness=2, noise=1.5)
    assert 0.2 < right < 1.9
    assert fitted(world, items, sureness=4, noise=3) == pytest.approx(right / 2, abs=0.01)


def test_with_nothing_held_out_the_weight_stays(world: Dataset, items: PreparedItems, tmp_path: Path) -> None:
    tower = made(world)
    fit_match_weight(tower, items, ROWS[:1], seed=0)
    assert tower.match_weight == 1
