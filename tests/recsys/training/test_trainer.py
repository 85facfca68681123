from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_setup import CONFIG, MODEL, fresh_tower, prepared

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, PairConfig, mine_pairs
from recsys.towers.clip import ClipTower
from recsys.training.contrast import ContrastConfig
from recsys.training.lora import LoraConfig
from recsys.training.optimizer import OptimizerConfig
from recsys.training.prepared import PreparedItems
from recsys.training.trainer import TrainerConfig, train


def run(
    world: Dataset, pairs: ItemPairs, config: TrainerConfig, work: Path
) -> tuple[ClipTower, list[dict[str, float]]]:
    work.mkdir(exist_ok=True)
    tower = fresh_tower(world)
    items = prepared(world, tower, work)
    return tower, train(tower, items, np.arange(len(items), dtype=np.int32), pairs, config, work).history


class PowerCutError(Exception):
    pass


class UntilPowerCut(PreparedItems):
    """Serves 26 batches, then no more: with a checkpoint every 10 steps, the cut falls between two."""

    @cached_property
    def served(self) -> Iterator[int]:
        return iter(range(26))

    def batch(self, *arguments: Any, **settings: Any) -> Any:
        if next(self.served, None) is None:
            raise PowerCutError
        return super().batch(*arguments, **settings)


VARIANTS = {
    "plain": CONFIG,
    "average": CONFIG.model_copy(update={"ema": 0.9}),
    "lora": CONFIG.model_copy(update={"lora": LoraConfig(parts=("text.backbone",))}),
    "sigmoid, two passes": CONFIG.model_copy(update={"contrast": ContrastConfig(loss="sigmoid"), "micro_batch": 16}),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    world: Dataset, pairs: ItemPairs, tmp_path: Path, config: TrainerConfig
) -> None:
    whole, history = run(world, pairs, config, tmp_path / "whole")
    cut = tmp_path / "cut"
    cut.mkdir()
    tower = fresh_tower(world)
    items = prepared(world, tower, cut)
    with pytest.raises(PowerCutError):
        train(tower, UntilPowerCut(**vars(items)), np.arange(len(items), dtype=np.int32), pairs, config, cut)

    resumed, resumed_history = run(world, pairs, config, cut)
    assert resumed_history == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_learning_beats_chance_on_items_never_trained_on(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    _, history = run(world, pairs, CONFIG.model_copy(update={"validation_share": 0.2}), tmp_path / "work")
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert [record["step"] for record in history] == [10, 20, 30, 40]


def test_training_stops_early_and_returns_the_best_weights(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    still = CONFIG.model_copy(update={"optimizer": OptimizerConfig(learning_rate=0.0), "patience": 2, "steps": 200})
    tower, history = run(world, pairs, still, tmp_path / "work")
    assert [record["step"] for record in history] == [10, 20, 30]  # the first was the best, then twice no better
    start = fresh_tower(world)
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(tower.state_dict()[name], tensor)


def test_a_catalogue_without_behaviour_trains_on_pictures_and_texts(world: Dataset, tmp_path: Path) -> None:
    nobody = mine_pairs(Interactions.of(world.events.clear(), world.ids), PairConfig())
    _, history = run(world, nobody, CONFIG, tmp_path / "work")
    views = {"image-text", "caption-text", "caption-fused", "image-fused"}
    assert set(history[0]) == {"step", "loss", "match_recall", "recall"} | views
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_student_learns_the_similarities_of_its_teacher(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    """A random teacher, nothing else to learn: the distance to it falls."""
    random = np.random.default_rng(0)
    teacher = {name: random.normal(size=(len(world.ids), 4)).astype(np.float32) for name in ("image", "text")}
    teacher = {name: v / np.linalg.norm(v, axis=1, keepdims=True) for name, v in teacher.items()}
    contrast = ContrastConfig(views={}, behaviour={}, distil=1.0)
    config = CONFIG.model_copy(update={"contrast": contrast, "steps": 60})
    tower = fresh_tower(world)
    items = prepared(world, tower, tmp_path)
    history = train(tower, items, np.arange(len(items), dtype=np.int32), pairs, config, tmp_path, teacher).history
    assert set(history[0]) >= {"distil", "loss"}
    assert history[-1]["distil"] < 0.95 * history[0]["distil"]


def test_a_lora_tower_ends_as_an_ordinary_one(world: Dataset, pairs: ItemPairs, tmp_path: Path) -> None:
    tower, _ = run(world, pairs, VARIANTS["lora"], tmp_path / "work")
    assert set(tower.state_dict()) == set(fresh_tower(world).state_dict())
    start = fresh_tower(world).state_dict()
    changed = {name for name, tensor in tower.state_dict().items() if not torch.equal(tensor, start[name])}
    attention = {name for name in changed if name.startswith("text.backbone.")}
    assert {name.rsplit(".", 2)[1] for name in attention} == {"query", "value"}


def test_a_poisoned_catalogue_neither_crashes_nor_poisons_the_run(
    world: Dataset, pairs: ItemPairs, tmp_path: Path
) -> None:
    """Black pictures, empty texts, and one item over and over."""
    tower = fresh_tower(world)
    items = prepared(world, tower, tmp_path)
    items.has_text[:100] = False
    items.tokens[:100] = tower.text.pad_id
    images = np.array(items.images)
    images[50:200] = 0
    poisoned = PreparedItems(**{**vars(items), "images": images})
    rows = np.concatenate([np.arange(len(items)), np.zeros(60)]).astype(np.int32)
    progress = train(tower, poisoned, rows, pairs, CONFIG, tmp_path)
    assert progress.skipped == 0
    assert all(np.isfinite([*record.values()]).all() for record in progress.history)
    assert all(torch.isfinite(tensor).all() for tensor in tower.state_dict().values())
    assert MODEL.width == tower.width
