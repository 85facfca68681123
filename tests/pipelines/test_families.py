"""Every tower family through the same jobs: trained, killed and resumed, embedded, indexed, asked."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.train_tower import TowerConfig, fit
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.embeddings.encode import open_tables
from recsys.exceptions import ConfigError, FingerprintMismatchError
from recsys.index.generation import IndexGeneration
from recsys.serving.cascade import CascadeConfig
from recsys.serving.engine import RERANKED, Engine, EnginePaths
from recsys.towers.abilities import Matching
from recsys.towers.base import ItemBatch
from recsys.towers.families import FAMILIES, open_tower
from recsys.towers.rerank import rerank_by_match

RUN = """
name = "family"
size = "tiny"
tower.family = "{family}"
trainer = {{steps = 30, evaluate_every = 15, items_per_batch = 8, anchors_per_batch = 4, partners = 1, patience = 9}}
"""
PICTURELESS = {"note_llm"}


def settings(tmp_path: Path, family: str) -> Path:
    file = tmp_path / f"{family}.toml"
    file.write_text(RUN.format(family=family))
    return file


def quietly(work: Callable[[], None]) -> None:
    """In a child: one thread, nothing said."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    work()


def in_child(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    """Start work in a process of its own, forked from a server that has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.train_tower"])
    child = context.Process(target=quietly, args=(work,))
    child.start()
    return child


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(
    family: str, tiny_home: Path, tmp_path: Path
) -> None:
    data = ArtifactStore(tiny_home).current("dataset").path
    config: TowerConfig = load_run_config(settings(tmp_path, family)).tower_config()
    works = [tmp_path / "undisturbed", tmp_path / "killed"]
    for work in works:
        work.mkdir()
    jobs = [partial(fit, data, config, work, tmp_path / "cache") for work in works]
    undisturbed = in_child(jobs[0])
    for strike in (signal.SIGKILL, signal.SIGINT):  # after the first checkpoint, and soon after going on
        child = in_child(jobs[1])
        while not (works[1] / ".checkpoint.safetensors").exists() and child.is_alive():
            time.sleep(0.001)
        if strike == signal.SIGINT:
            time.sleep(0.2)
        assert child.pid is not None
        os.kill(child.pid, strike)
        child.join()
        assert child.exitcode != 0
        assert not (works[1] / "model.safetensors").exists()
    resumed = in_child(jobs[1])
    for child in (undisturbed, resumed):
        child.join()
        assert child.exitcode == 0
    metrics = [json.loads((work / ".metrics.json").read_text()) for work in works]
    assert metrics[0]["history"] == metrics[1]["history"]
    assert len(metrics[0]["history"]) == 2
    weights = [load_file(work / "model.safetensors") for work in works]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.equal(weights[1][name], tensor), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_serves_the_same_index(family: str, tiny_home: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "home", load_run_config(settings(tmp_path, family)), Console(machine=True))
    dataset = ArtifactStore(tiny_home).current("dataset")
    tower = run.tower(dataset)
    embeddings = run.embeddings(dataset, tower)
    index = run.index(embeddings)
    generation = IndexGeneration.open(index.path)
    tables, data, opened = open_tables(embeddings.path), Dataset(dataset.path), open_tower(tower.path)
    assert opened.family == tower.manifest.metrics["family"] == family
    assert tower.manifest.metrics["skipped_steps"] == 0

    both = np.flatnonzero(tables["text"].vectors.any(axis=1) & (data.items["n_images"].to_numpy() > 0))
    lengths = {name: np.linalg.norm(table.vectors, axis=1) for name, table in tables.items()}
    np.testing.assert_allclose(lengths["fused"][both], 1, atol=1e-4)
    np.testing.assert_allclose(lengths["image"][both], 0 if family in PICTURELESS else 1, atol=1e-4)

    seed = int(both[0])
    rows, scores = generation.search(np.asarray(tables["fused"].vectors[[seed]]), 5, opened.fingerprint)
    assert rows[0, 0] == seed
    assert scores[0, 0] == pytest.approx(1, abs=1e-4)
    vector = opened.encode_text(["手冲咖啡"])
    expected = np.argsort(-(np.asarray(tables["fused"].vectors) @ vector[0]), kind="stable")[:5]
    np.testing.assert_array_equal(generation.search(vector, 5, opened.fingerprint)[0][0], expected)
    with pytest.raises(FingerprintMismatchError):
        generation.search(vector, 5, "another")

    paths = EnginePaths(dataset.path, tower.path, embeddings.path, index.path.parent, None, None, None, False)
    engine = Engine(paths, CascadeConfig())
    if not isinstance(opened, Matching):
        with pytest.raises(ConfigError, match="does not judge"):
            engine.search_text("手冲咖啡", 5, rerank=True)
        return
    nearest, again = engine.search_text("手冲咖啡", RERANKED), engine.search_text("手冲咖啡", RERANKED, rerank=True)
    ids = [answer.item_id for answer in nearest]
    covers = data.covers(data.ids.rows(ids).tolist())
    cosines = np.array([answer.score for answer in nearest], np.float32)
    order = np.argsort(-rerank_by_match(opened, "手冲咖啡", covers, cosines), kind="stable")
    assert [answer.item_id for answer in again] == [ids[place] for place in order]


@pytest.mark.parametrize("family", FAMILIES)
def test_poisoned_items_get_sound_vectors(family: str, tiny_home: Path, tmp_path: Path) -> None:
    """Nothing at all, blank texts, a text far too long, in one batch with a sound item."""
    config = load_run_config(settings(tmp_path, family)).tower_config()
    data = Dataset(ArtifactStore(tiny_home).current("dataset").path)
    torch.manual_seed(0)
    tower = FAMILIES[family].create(config.model, ["手冲咖啡 latte art", "a walk by the sea 海边"])
    picture = next(cover for cover in data.covers(range(20)) if cover)
    batch = ItemBatch(["手冲咖啡", None, "", "海" * 5000, "咖啡"], [picture, None, picture, picture, None])
    vectors = tower.encode_items(batch)
    lengths = {name: np.linalg.norm(read_out, axis=1) for name, read_out in vectors.items()}
    assert all(np.isfinite(read_out).all() for read_out in vectors.values())
    np.testing.assert_allclose(lengths["fused"][[0, 3, 4]], 1, atol=1e-4)
    assert lengths["fused"][1] == 0
    alone = tower.encode_items(ItemBatch(batch.texts[:1], batch.images[:1]))
    np.testing.assert_allclose(vectors["fused"][0], alone["fused"][0], atol=1e-5)
