"""``kill -9`` in the middle of a stage: the previous state stays whole, and a rerun ends as an undisturbed run does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.build_index import build_index
from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig, IndexGeneration
from recsys.towers.base import READ_OUTS
from recsys.types import IdMap

CONFIG = """
name = "interrupted"
size = "tiny"
dataset.world = {n_items = 700, n_users = 60, n_authors = 20, n_requests = 300}
trainer = {steps = 60, evaluate_every = 10, patience = 9}
"""
RUN_UNTIL_INDEX = """
import sys
from pathlib import Path
from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
run = Run(Path(sys.argv[1]), load_run_config(Path(sys.argv[2])), Console())
data = run.dataset()
run.index(run.embeddings(data, run.tower(data)))
"""
INDEX = """
import sys
from pathlib import Path
from pipelines.build_index import build_index
from recsys.artifacts import ArtifactStore
from recsys.index.generation import IndexConfig
store = ArtifactStore(Path(sys.argv[1]))
build_index(store, store.current("embeddings"), IndexConfig.model_validate_json(sys.argv[2]))
"""


def kill_when(seen: Callable[[], bool], code: str, *arguments: str) -> None:
    """Start a process and kill it the moment ``seen`` is true."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not seen() and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it ended by itself: {errors.decode()}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "run.toml"
    file.write_text(CONFIG)
    return file


def until_index(home: Path, config: Path) -> dict[str, Artifact]:
    run = Run(home, load_run_config(config), Console())
    dataset = run.dataset()
    tower = run.tower(dataset)
    embeddings = run.embeddings(dataset, tower)
    return {"dataset": dataset, "tower": tower, "embeddings": embeddings, "index": run.index(embeddings)}


def test_killed_in_training_and_in_embedding(tmp_path: Path, config: Path) -> None:
    home = tmp_path / "killed"
    arguments = (str(home), str(config))
    kill_when(lambda: any(home.glob("tower/.work-*/.checkpoint.safetensors")), RUN_UNTIL_INDEX, *arguments)
    with pytest.raises(ArtifactError, match="no tower"):
        ArtifactStore(home).current("tower")
    kill_when(lambda: any(home.glob("embeddings/.work-*/.parts/*.npy")), RUN_UNTIL_INDEX, *arguments)
    assert ArtifactStore(home).kinds() == ["dataset", "tower"]

    resumed, undisturbed = until_index(home, config), until_index(tmp_path / "undisturbed", config)
    for kind, artifact in undisturbed.items():
        assert resumed[kind].key == artifact.key
        assert resumed[kind].manifest.files == artifact.manifest.files, kind
        resumed[kind].verify()
    assert not list(home.glob("*/.work-*"))


def test_killed_in_index_building(tmp_path: Path) -> None:
    """With 40,000 vectors, so that there is time to strike between the table and the index."""
    vectors = np.random.default_rng(0).normal(size=(40_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = EmbeddingTable(IdMap.of(str(row) for row in range(len(vectors))), vectors, "tower")

    class NoConfig(BaseConfig):
        pass

    def fill(work: Path) -> dict[str, int]:
        for name in READ_OUTS:
            table.save(work / name)
        return {}

    homes = [ArtifactStore(tmp_path / name) for name in ("killed", "undisturbed")]
    for store in homes:
        store.build("embeddings", 1, NoConfig(), {}, fill)
    ivf = IndexConfig(kind="faiss", faiss=FaissConfig(nprobe=16))
    killed = homes[0].home
    kill_when(lambda: any(killed.glob("index/.work-*/table/vectors.npy")), INDEX, str(killed), ivf.model_dump_json())
    assert "index" not in homes[0].kinds()

    resumed, undisturbed = (build_index(store, store.current("embeddings"), ivf)[0] for store in homes)
    assert resumed.manifest.files == undisturbed.manifest.files
    generation = IndexGeneration.open(resumed.path)
    rows, _ = generation.search(vectors[:5], 1, "tower")
    np.testing.assert_array_equal(rows[:, 0], range(5))
