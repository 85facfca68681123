from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, PairConfig, mine_pairs


@pytest.fixture(scope="session")
def world(tiny_world: Path) -> Dataset:
    return Dataset(tiny_world)


@pytest.fixture(scope="session")
def pairs(world: Dataset) -> ItemPairs:
    return mine_pairs(Interactions.of(world.events, world.ids), PairConfig())
