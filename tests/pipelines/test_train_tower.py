"""A tower must not learn from what it is later judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.run_config import load_run_config
from pipelines.runtime import InlineRuntime, RayRuntime, RuntimeConfig
from pipelines.train_tower import TowerConfig, first_weights, learnable, train_tower
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.data.splits import split_events
from recsys.towers.base import item_texts
from recsys.towers.families import open_tower


def test_only_items_of_the_time_before_the_labels_are_learned(tiny_world: Path) -> None:
    data, config = Dataset(tiny_world), TowerConfig()
    split = split_events(data.events, config.split)
    trainable, _ = learnable(data, config)
    created = data.items[schemas.CREATED_AT]
    assert (created[trainable.tolist()] < split.label_from).all()
    assert 0 < len(trainable) == (created < split.label_from).sum() < len(created)


def test_pairs_know_nothing_of_labels_and_test(tiny_world: Path) -> None:
    """The same pairs come out when every later event is thrown away."""
    data, config = Dataset(tiny_world), TowerConfig()
    split = split_events(data.events, config.split)
    _, pairs = learnable(data, config)
    positive = split.fit.filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
    together = {
        (a, b)
        for items in positive.group_by(schemas.USER_ID).agg(schemas.ITEM_ID)[schemas.ITEM_ID]
        for a in items
        for b in items
    }
    mined = set(zip(data.ids.externals(pairs.a), data.ids.externals(pairs.b), strict=True))
    assert mined <= together
    assert len(mined) > 500


def test_a_catalogue_without_events_is_learned_whole(tiny_world: Path) -> None:
    data = Dataset(tiny_world)
    data.events = data.events.clear()
    trainable, pairs = learnable(data, TowerConfig())
    np.testing.assert_array_equal(trainable, np.arange(len(data.ids)))
    assert len(pairs) == 0


def test_a_tower_can_write_categories_that_no_text_mentions(tiny_world: Path) -> None:
    """Characters that the tokenizer never met come out as unknown."""
    data, config = Dataset(tiny_world), TowerConfig()
    category = "鱬䴅ѫѯ"
    assert not set(category) & set("".join(text or "" for text in item_texts(data.items)))
    data.items = data.items.with_columns(pl.lit(category).alias(schemas.CATEGORY))
    rows = np.arange(len(data.ids), dtype=np.int32)
    tokenizer = first_weights(data, rows, Captions.of(data, rows[:0], None), config).text.tokenizer
    assert "[UNK]" not in tokenizer.encode(category).tokens


@pytest.mark.ray
def test_two_ray_workers_learn_what_one_process_does(tiny_home: Path, tiny_run: Path, tmp_path: Path) -> None:
    dataset = ArtifactStore(tiny_home).current("dataset")
    overrides = {
        "tower": {"text": {"dropout": 0.0}},
        "trainer": {"steps": 10, "evaluate_every": 5, "items_per_batch": 25},
    }
    config = load_run_config(tiny_run, overrides).tower_config()
    curves = []
    for runtime in (InlineRuntime(), RayRuntime(RuntimeConfig(kind="ray", workers=2))):
        store = ArtifactStore(tmp_path / type(runtime).__name__)
        tower, _ = train_tower(store, dataset, config, runtime)
        curves.append([record["loss"] for record in tower.manifest.metrics["history"]])
    assert len(curves[0]) == 2
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


def test_captions_that_a_tower_wrote_are_learned_from(tiny_home: Path, tiny_run: Path, tmp_path: Path) -> None:
    """Every item is described by a character that nothing else has: it enters the vocabulary."""
    dataset = ArtifactStore(tiny_home).current("dataset")
    ids = Dataset(dataset.path).items[schemas.ITEM_ID]
    written = pl.DataFrame({schemas.ITEM_ID: ids, "caption": ["龘"] * len(ids), "kept": [True] * len(ids)})
    written.write_parquet(tmp_path / "captions.parquet")
    overrides = {"written": str(tmp_path), "trainer": {"steps": 2, "evaluate_every": 2, "caption_share": 1.0}}
    config = load_run_config(tiny_run, overrides).tower_config()
    tower, _ = train_tower(ArtifactStore(tmp_path / "home"), dataset, config, InlineRuntime())
    assert open_tower(tower.path).text.tokenizer.token_to_id("龘") is not None
    assert "龘" not in "".join(text for text in item_texts(Dataset(dataset.path).items) if text)
    assert tower.manifest.config["made_from"]
