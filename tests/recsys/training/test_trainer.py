from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, PairConfig, mine_pairs
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.towers.base import item_texts
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.training.batches import BatchSampler, PreparedItems
from recsys.training.trainer import TrainerConfig, train
from recsys.types import RowArray

MODEL = ClipConfig(
    text=TextConfig(max_tokens=16, vocab_size=500, width=32, layers=1, heads=2),
    image=ImageConfig(pixels=32, patch=16, width=32, layers=1, heads=2),
    width=16,
)
CONFIG = TrainerConfig(steps=40, warmup_steps=5, evaluate_every=10, items_per_batch=16, anchors_per_batch=6, patience=9)


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> Dataset:
    return Dataset(tiny_world)


@pytest.fixture(scope="module")
def pairs(world: Dataset) -> ItemPairs:
    return mine_pairs(Interactions.of(world.events, world.ids), PairConfig())


def fresh(world: Dataset, work: Path) -> tuple[ClipTower, PreparedItems]:
    torch.manual_seed(0)
    tower = ClipTower.create(MODEL, [text for text in item_texts(world.items) if text])
    return tower, PreparedItems.prepare(world, tower, work / ".pixels.npy")


def run(
    world: Dataset, pairs: ItemPairs, config: TrainerConfig, work: Path
) -> tuple[ClipTower, list[dict[str, float]]]:
    work.mkdir(exist_ok=True)
    tower, items = fresh(world, work)
    history = train(tower, items, np.arange(len(items), dtype=np.int32), pairs, config, work)
    return tower, history


class PowerCutError(Exception):
    pass


class UntilPowerCut(PreparedItems):
    """Serves 26 batches, then no more: with a checkpoint every 10 steps, the cut falls between two."""

    @cached_property
    def served(self) -> Iterator[int]:
        return iter(range(26))

    def augmented(self, rows: RowArray, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if next(self.served, None) is None:
            raise PowerCutError
        return super().augmented(rows, random)


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    world: Dataset, pairs: ItemPairs, tmp_path: Path
) -> None:
    whole, history = run(world, pairs, CONFIG, tmp_path / "whole")
    cut = tmp_path / "cut"
    cut.mkdir()
    tower, items = fresh(world, cut)
    with pytest.raises(PowerCutError):
        train(tower, UntilPowerCut(**vars(items)), np.arange(len(items), dtype=np.int32), pairs, CONFIG, cut)

    resumed, resumed_history = run(world, pairs, CONFIG, cut)
    assert resumed_history == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_learning_beats_chance_on_items_never_trained_on(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    _, history = run(world, pairs, CONFIG.model_copy(update={"validation_share": 0.2}), tmp_path / "work")
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert [record["step"] for record in history] == [10, 20, 30, 40]


def test_training_stops_early_and_returns_the_best_weights(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    still = CONFIG.model_copy(update={"learning_rate": 0.0, "patience": 2, "steps": 200})
    tower, history = run(world, pairs, still, tmp_path / "work")
    assert [record["step"] for record in history] == [10, 20, 30]  # the first was the best, then twice no better
    start, _ = fresh(world, tmp_path / "work")
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(tower.state_dict()[name], tensor)


def test_a_catalogue_without_behaviour_trains_on_pictures_and_texts(world: Dataset, tmp_path: Path) -> None:
    nobody = mine_pairs(Interactions.of(world.events.clear(), world.ids), PairConfig())
    _, history = run(world, nobody, CONFIG, tmp_path / "work")
    assert set(history[0]) == {"step", "loss", "match_recall", "recall"}
    assert history[-1]["loss"] < history[0]["loss"]


def test_batches_depend_on_seed_and_step_alone(pairs: ItemPairs) -> None:
    rows = np.arange(100, dtype=np.int32)
    one, same, other = (BatchSampler(rows, pairs, seed) for seed in (3, 3, 4))
    one.draw(0, 10, 5, 2)
    np.testing.assert_array_equal(one.draw(7, 10, 5, 2), same.draw(7, 10, 5, 2))
    assert not np.array_equal(one.draw(7, 10, 5, 2), other.draw(7, 10, 5, 2))


def test_anchors_are_drawn_by_the_root_of_their_mass_and_partners_by_score() -> None:
    """Item 0 has mass 8 + 1, item 1 mass 1: anchors come 3 : 1, and 0's partners 8 : 1."""
    pairs = ItemPairs(np.array([0, 0, 1], np.int32), np.array([2, 3, 4], np.int32), np.array([8, 1, 1], np.float32))
    sampler = BatchSampler(np.arange(5, dtype=np.int32), pairs, 0)
    rows = sampler.draw(0, 2, 20_000, 2)
    anchors, partners = rows[2:20_002], rows[20_002:].reshape(2, 20_000)
    assert np.mean(anchors == 0) == pytest.approx(0.75, abs=0.01)
    assert np.mean(partners[:, anchors == 0] == 2) == pytest.approx(8 / 9, abs=0.01)
    assert (partners[:, anchors == 1] == 4).all()
    affinity = sampler.affinity(np.array([0, 2, 4, 1], np.int32))
    np.testing.assert_array_equal(affinity, [[0, 8, 0, 0], [8, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


def test_pictures_are_decoded_once(world: Dataset, tmp_path: Path) -> None:
    tower, items = fresh(world, tmp_path)
    covers = world.covers(range(len(items)))
    np.testing.assert_array_equal(items.pixels, tower.image.prepare(covers))
    np.testing.assert_array_equal(items.has_image, [cover is not None for cover in covers])
    modified = (tmp_path / ".pixels.npy").stat().st_mtime_ns
    fresh(world, tmp_path)
    assert (tmp_path / ".pixels.npy").stat().st_mtime_ns == modified


def test_half_written_pictures_are_written_again(world: Dataset, tmp_path: Path) -> None:
    (tmp_path / ".pixels.partial").write_bytes(b"cut off")
    _, items = fresh(world, tmp_path)
    assert items.pixels.shape == (len(world.ids), 3, 32, 32)
