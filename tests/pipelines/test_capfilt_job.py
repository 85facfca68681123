from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from pipelines import capfilt as job
from pipelines.capfilt import SliceCaptioner, capfilt, poor_rows
from pipelines.runtime import InlineRuntime
from pipelines.train_tower import WRITTEN_CAPTIONS
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig
from recsys.exceptions import ConfigError
from recsys.towers.base import item_texts
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.capfilt import CapFiltConfig
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.towers.tower import Tower

CONFIG = CapFiltConfig(fewer_characters=10_000, max_tokens=4, least_probability=0.5)


@pytest.fixture(scope="module")
def dataset(tiny_home: Path) -> Artifact:
    return ArtifactStore(tiny_home).current("dataset")


@pytest.fixture(scope="module")
def tower() -> BlipTower:
    torch.manual_seed(0)
    text = GroundedTextConfig(max_tokens=8, vocab_size=100, width=16, layers=1, heads=2)
    image = ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2)
    return BlipTower.create(
        BlipConfig(text=text, image=image, width=8, queue=0, alpha=0.0), ["红色的苹果 apple", "sea"] * 2
    )


def saved(store: ArtifactStore, tower: Tower, dataset: Artifact) -> Artifact:
    def build(work: Path) -> dict[str, str]:
        tower.save(work)
        return {}

    return store.build("tower", 1, BaseConfig(), {"dataset": dataset}, build)[0]


def test_every_poor_item_gets_a_line_with_its_reason(tmp_path: Path, dataset: Artifact, tower: BlipTower) -> None:
    store, data = ArtifactStore(tmp_path), Dataset(dataset.path)
    artifact, built = capfilt(store, dataset, saved(store, tower, dataset), InlineRuntime(), CONFIG)
    frame = pl.read_parquet(artifact.path / WRITTEN_CAPTIONS)
    assert built
    assert frame[schemas.ITEM_ID].to_list() == data.items[schemas.ITEM_ID].to_list()
    pictured = (data.items["n_images"] > 0).to_list()
    assert [reason != "no picture" for reason in frame[schemas.REASON]] == pictured
    judged = frame.filter(pl.col("probability").is_not_null())
    assert (judged["kept"] == (judged["probability"] >= 0.5)).all()
    metrics = artifact.manifest.metrics
    assert metrics["poor"] == len(frame)
    assert metrics["kept"] == frame["kept"].sum()
    assert sum(metrics["reasons"].values()) == len(frame)
    assert capfilt(store, dataset, store.current("tower"), InlineRuntime(), CONFIG)[1] is False


def test_items_with_enough_text_are_left_alone(dataset: Artifact) -> None:
    data = Dataset(dataset.path)
    texts = item_texts(data.items)
    middle = sorted(len(text or "") for text in texts)[len(texts) // 2]
    rows = poor_rows(data, CapFiltConfig(fewer_characters=middle))
    assert rows == [row for row, text in enumerate(texts) if len(text or "") < middle]
    assert 0 < len(rows) < len(texts)


def test_an_interrupted_job_ends_as_an_undisturbed_one(
    tmp_path: Path, dataset: Artifact, tower: BlipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(SliceCaptioner):
        def __call__(self, start: int) -> int:
            if start > 0:
                raise KeyboardInterrupt
            return super().__call__(start)

    whole, halted = ArtifactStore(tmp_path / "whole"), ArtifactStore(tmp_path / "halted")
    expected, _ = capfilt(whole, dataset, saved(whole, tower, dataset), InlineRuntime(), CONFIG)
    made = saved(halted, tower, dataset)
    with monkeypatch.context() as patched:
        patched.setattr(job, "SliceCaptioner", Stops)
        with pytest.raises(KeyboardInterrupt):
            capfilt(halted, dataset, made, InlineRuntime(), CONFIG)
    resumed, _ = capfilt(halted, dataset, made, InlineRuntime(), CONFIG)
    assert resumed.manifest.metrics["judged_now"] == len(Dataset(dataset.path).ids) - ITEMS_PER_GROUP
    assert pl.read_parquet(resumed.path / WRITTEN_CAPTIONS).equals(pl.read_parquet(expected.path / WRITTEN_CAPTIONS))


def test_a_tower_that_cannot_is_refused(tmp_path: Path, dataset: Artifact) -> None:
    store = ArtifactStore(tmp_path)
    clip = ClipTower.create(ClipConfig(image=ImageConfig(pixels=16, width=16, layers=1, heads=2)), ["a b"] * 3)
    with pytest.raises(ConfigError, match="clip tower cannot"):
        capfilt(store, dataset, saved(store, clip, dataset), InlineRuntime(), CONFIG)
