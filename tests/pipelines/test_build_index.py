from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines.build_index import CURVE, build_index, told
from pipelines.cli import app
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.encode import READ_OUTS
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.generation import IndexConfig
from recsys.types import IdMap


class NoConfig(BaseConfig):
    pass


def embeddings(store: ArtifactStore) -> Artifact:
    vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = EmbeddingTable(IdMap.of(map(str, range(3000))), vectors, "tower")

    def fill(work: Path) -> dict[str, int]:
        for name in READ_OUTS:
            table.save(work / name)
        return {}

    return store.build("embeddings", 1, NoConfig(), {}, fill)[0]


def test_a_tuned_index_says_why_and_how_well_and_draws_the_curve(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    index, _ = build_index(store, embeddings(store), IndexConfig(exact_below=0, recall_target=0.9, k=20))
    metrics = index.manifest.metrics
    assert metrics["kind"] == "ivf_fp16"
    assert metrics["tuning"]["chosen"]["recall"] >= 0.9
    assert abs(metrics["recall@10"] - 0.9) < 0.07
    reason, figures, tuned = told(index).splitlines()
    assert reason == metrics["reason"]
    assert figures.startswith("rows 3000 indexed 3000 recall@10 0.")
    assert tuned.startswith(f"nprobe {metrics['tuning']['chosen']['breadth']} reaches recall@20 ")
    assert tuned.endswith(CURVE)
    picture = Image.open(BytesIO((index.path / CURVE).read_bytes()))
    assert picture.format == "PNG"
    assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    index.verify()


def test_a_small_index_is_exact_and_has_no_curve(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    index, _ = build_index(store, embeddings(store), IndexConfig())
    assert told(index).splitlines() == [
        "3,000 vectors of width 16: exact search, quick enough below 50,000",
        "rows 3000 indexed 3000 recall@10 1 recall@50 1",
    ]
    assert not (index.path / CURVE).exists()


def test_the_command_passes_on_what_was_asked_and_says_what_was_built(tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home, symlinks=True)
    config = tmp_path / "run.toml"
    config.write_text('name = "small"\n[index]\nexact_below = 0\n')
    command = ["index", "--home", str(home), "--config", str(config), "--recall-target", "0.8", "--k", "30"]
    made = json.loads(CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).stdout)
    assert (made["kind"], made["tuning"]["k"], made["tuning"]["target"]) == ("ivf_fp16", 30, 0.8)
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "unchanged, skipped" in said
    assert "half floats in inverted lists" in said
    assert f"nprobe {made['tuning']['chosen']['breadth']} reaches recall@30" in said
    CliRunner().invoke(app, [*command, "--memory", "16GB"], catch_exceptions=False)
    assert ArtifactStore(home).current("index").manifest.config["memory_gb"] == 16


def test_an_index_below_the_bounds_of_the_run_is_not_put_to_use(tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home, symlinks=True)
    before = ArtifactStore(home).current("index")
    config = tmp_path / "run.toml"
    narrow = '[index]\nkind = "faiss"\nfaiss = {kind = "ivf_flat", nlist = 60, nprobe = 1}\n'
    config.write_text(f'name = "narrow"\n{narrow}[publish]\nleast_recall = 0.99\n')
    command = ["index", "--home", str(home), "--config", str(config)]
    with pytest.raises(ArtifactError, match=r"recall@10 is 0\.\d+, below 0\.99.*publish\.least_recall"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert ArtifactStore(home).current("index") == before
    config.write_text(f'name = "narrow"\n{narrow}[publish]\nleast_recall = 0.01\n')
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert ArtifactStore(home).current("index").manifest.metrics["kind"] == "ivf_flat"
