from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipelines.build_index import build_index
from pipelines.index_commands import gc, list_generations, rollback
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig
from recsys.index.publish import PublishConfig
from recsys.towers.base import READ_OUTS
from recsys.types import IdMap

app = typer.Typer()
app.command("list")(list_generations)
app.command("rollback")(rollback)
app.command("gc")(gc)


class Edition(BaseConfig):
    rows: int


def embeddings(store: ArtifactStore, rows: int) -> Artifact:
    vectors = np.random.default_rng(rows).standard_normal((rows, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    table = EmbeddingTable(IdMap.of(f"i{row}" for row in range(rows)), vectors, "tower")

    def write(work: Path) -> dict[str, int]:
        for name in READ_OUTS:
            table.save(work / name)
        return {}

    return store.build("embeddings", 1, Edition(rows=rows), {}, write)[0]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Three generations, of 100, 110 and 120 items; the last is in use."""
    store = ArtifactStore(tmp_path)
    for rows in (100, 110, 120):
        build_index(store, embeddings(store, rows), IndexConfig())
    return store


def asked(store: ArtifactStore, *command: str) -> dict:
    result = CliRunner().invoke(app, [*command, "--home", str(store.home), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def states(store: ArtifactStore) -> dict[int, str]:
    return {of["metrics"]["rows"]: of["state"] for of in asked(store, "list")["generations"]}


def test_list_rollback_and_gc(store: ArtifactStore) -> None:
    assert states(store) == {120: "in use", 110: "1 back", 100: "2 back"}
    keys = store.used_keys("index")
    assert asked(store, "rollback")["key"] == keys[1]
    assert states(store) == {120: "idle", 110: "in use", 100: "1 back"}
    assert asked(store, "gc", "--keep", "1")["removed"] == [keys[0]]
    assert states(store) == {110: "in use", 100: "1 back"}
    assert asked(store, "gc", "--keep", "0")["removed"] == [keys[2]]
    with pytest.raises(ArtifactError, match="No other index was in use before"):
        asked(store, "rollback")


def test_what_people_read(store: ArtifactStore, tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["list", "--home", str(store.home)]).stdout
    assert [part in listed for part in ("in use", "1 back", "120", "1.000")] == [True] * 4
    assert "Removed 0 index generations." in CliRunner().invoke(app, ["gc", "--home", str(store.home)]).stdout
    assert "No index generations" in CliRunner().invoke(app, ["list", "--home", str(tmp_path / "empty")]).stdout


def test_a_generation_out_of_bounds_is_never_put_to_use(store: ArtifactStore) -> None:
    key = store.current("index").key
    with pytest.raises(ArtifactError, match="it has 50 items, the one in use 120"):
        build_index(store, embeddings(store, 50), IndexConfig())
    few = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=60, nprobe=1))
    with pytest.raises(ArtifactError, match=r"its recall@10 is 0\.\d+, below 0\.8"):
        build_index(store, embeddings(store, 3000), few)
    assert store.current("index").key == key
    assert len(store.artifacts("index")) == 3
    assert build_index(store, embeddings(store, 50), IndexConfig(), PublishConfig(least_share=0.4))[1]
