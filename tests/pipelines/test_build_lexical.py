from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import open_engine
from pipelines.build_lexical import build_lexical, fit_hybrid
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.embeddings.encode import open_tables
from recsys.evaluation.judged_queries import JudgedQueries
from recsys.evaluation.judgements import judge
from recsys.evaluation.metrics import ndcg
from recsys.exceptions import ArtifactError
from recsys.index.exact import ExactIndex
from recsys.retrieval.hybrid import SHARES, HybridConfig
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.towers.families import open_tower


def current(store: ArtifactStore, *kinds: str) -> dict[str, Artifact]:
    return {kind: store.current(kind) for kind in kinds}


@pytest.fixture
def store(tiny_home: Path, tmp_path: Path) -> ArtifactStore:
    """A copy of the tiny home, to change."""
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home, ignore=shutil.ignore_patterns("cache", "reports", "ranker"))
    return ArtifactStore(home)


def test_the_index_holds_every_item_of_the_data_set(tiny_home: Path) -> None:
    store = ArtifactStore(tiny_home)
    lexical, data = store.current("lexical"), Dataset(store.current("dataset").path)
    built, opened = LexicalIndex.build(data.items, LexicalConfig()), LexicalIndex.open(lexical.path)
    assert lexical.manifest.metrics == {"items": len(data.ids), "words": built.vocabulary}
    for a, b in zip(built.search(["咖啡", "tutorial"], 9), opened.search(["咖啡", "tutorial"], 9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_share_is_the_best_of_its_curve_whose_ends_are_each_alone(tiny_home: Path) -> None:
    store = ArtifactStore(tiny_home)
    metrics = store.current("hybrid").manifest.metrics
    data, depth = Dataset(store.current("dataset").path), HybridConfig().depth
    queries = JudgedQueries.of(data, 2000)
    curve = {float(share): value for share, value in metrics["ndcg@10"].items()}
    assert metrics["queries"] == len(queries)
    assert tuple(curve) == SHARES
    assert curve[metrics["share"]] == pytest.approx(max(curve[share] for share in SHARES[1:-1]), abs=1e-6)
    vectors = open_tower(store.current("tower").path).encode_text(queries.texts)
    table = open_tables(store.current("embeddings").path)["fused"]
    rows, _ = ExactIndex(table).search(vectors, depth)
    assert curve[0] == pytest.approx(float(ndcg(judge(rows, queries.judgements, 10), 10).mean()))
    rows, _ = LexicalIndex.open(store.current("lexical").path).search(queries.texts, depth)
    alone = float(ndcg(judge(rows, queries.judgements, 10), 10).mean())
    assert alone - 1e-6 <= curve[1] < alone + 0.05  # where words find less than ten, others stand behind them
    assert open_engine(store).hybrid == HybridConfig(share=metrics["share"])


def test_a_share_that_is_set_is_not_fitted_and_is_served(store: ArtifactStore) -> None:
    parts = current(store, "dataset", "tower", "embeddings", "lexical")
    artifact, built = fit_hybrid(store, **parts, config=HybridConfig(depth=50, share=0.9))
    assert built
    assert artifact.manifest.metrics == {"share": 0.9}
    assert open_engine(store).hybrid == HybridConfig(depth=50, share=0.9)


def test_a_share_that_was_fitted_to_other_words_is_not_used(store: ArtifactStore) -> None:
    build_lexical(store, store.current("dataset"), LexicalConfig(k1=2))
    assert 0 <= store.current("hybrid").manifest.metrics["share"] <= 1
    assert open_engine(store).hybrid == HybridConfig()


def test_vectors_of_another_data_set_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "other") as writer:
        writer.write("items", [{"item_id": "a", "title": "tea"}])
    other, _ = store.build("dataset", 0, LexicalConfig(), {}, lambda work: _copied(tmp_path / "other", work))
    lexical, _ = build_lexical(store, other, LexicalConfig())
    parts = current(store, "tower", "embeddings")
    with pytest.raises(ArtifactError, match="another dataset"):
        fit_hybrid(store, other, **parts, lexical=lexical, config=HybridConfig())


def _copied(source: Path, work: Path) -> dict[str, int]:
    shutil.copytree(source, work, dirs_exist_ok=True)
    return {}
