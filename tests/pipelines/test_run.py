from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.runtime import RuntimeConfig
from pipelines.status import show_status
from recsys.artifacts import ArtifactStore
from recsys.embeddings.encode import open_tables
from recsys.evaluation.report import EvaluationReport
from recsys.exceptions import ConfigError

STAGES = ["dataset", "tower", "embeddings", "index", "lexical", "hybrid", "ranker", "reports"]


def test_a_second_run_builds_nothing(tiny_home: Path, tiny_run: Path) -> None:
    console = Console()
    Run(tiny_home, load_run_config(tiny_run), console).everything()
    assert list(console.outcome) == STAGES
    assert not any(stage["built"] for stage in console.outcome.values())


def test_a_changed_setting_builds_what_hangs_on_it_and_nothing_else(tiny_home: Path, tiny_run: Path) -> None:
    store, before = ArtifactStore(tiny_home), {}
    before = {kind: store.current(kind).key for kind in STAGES}
    console = Console()
    Run(tiny_home, load_run_config(tiny_run, {"ranker": {"leaves": 7}}), console).everything()
    assert [name for name, stage in console.outcome.items() if stage["built"]] == ["ranker", "reports"]
    Run(tiny_home, load_run_config(tiny_run), Console()).everything()  # and back again
    assert {kind: store.current(kind).key for kind in STAGES} == before


def test_every_artifact_matches_its_checksums_and_names_its_parents(tiny_home: Path) -> None:
    store = ArtifactStore(tiny_home)
    current = {kind: store.current(kind) for kind in STAGES}
    for artifact in current.values():
        artifact.verify()
        for role, key in artifact.manifest.parents.items():
            assert key == current[role].key


def test_the_report_is_published_and_its_figures_follow_from_each_other(tiny_home: Path) -> None:
    report = EvaluationReport.model_validate_json((tiny_home / "reports" / "evaluation.json").read_text())
    feed, search = report.retrieval
    found = feed.estimates()
    assert {"random", "popularity", "item-knn", "text-only", "image-only", "both", "ranked", "oracle"} <= set(found)
    assert found["oracle"].value == max(estimate.value for estimate in found.values())
    assert search.estimates()["both"].value > 2 * search.estimates()["random"].value
    cold = feed.estimates("cold")
    assert cold["popularity"].value == cold["item-knn"].value == 0.0
    by_truth = {table.title: table for table in report.ranking}["Logged slates, by truth"].estimates()
    assert by_truth["oracle"].value == pytest.approx(1.0)
    assert "data:image/jpeg;base64," in (tiny_home / "reports" / "evaluation.html").read_text()


def test_vectors_of_the_report_stand_for_the_modality_they_name(tiny_home: Path) -> None:
    store = ArtifactStore(tiny_home)
    tables = open_tables(store.current("embeddings").path)
    items = pl.read_parquet(store.current("dataset").path / "items.parquet", columns=["images"])
    bare = (items["images"].list.len().fill_null(0) == 0).to_numpy()
    assert 0 < bare.sum() < len(bare)
    np.testing.assert_array_equal(tables["image"].vectors.any(axis=1), ~bare)
    np.testing.assert_allclose(tables["fused"].vectors[bare], tables["text"].vectors[bare], atol=1e-5)


@pytest.mark.ray
def test_ray_encodes_the_same_vectors(tiny_home: Path, tiny_run: Path, tmp_path: Path) -> None:
    inline = ArtifactStore(tiny_home)
    run = Run(tmp_path, load_run_config(tiny_run), Console(), RuntimeConfig(kind="ray", workers=2))
    artifact = run.embeddings(inline.current("dataset"), inline.current("tower"))
    assert artifact.key == inline.current("embeddings").key
    expected = open_tables(inline.current("embeddings").path)
    for name, table in open_tables(artifact.path).items():
        np.testing.assert_allclose(table.vectors, expected[name].vectors, atol=1e-5)
        assert table.fingerprint == expected[name].fingerprint


def test_status_marks_what_was_made_from_something_else(
    tiny_home: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tiny_home, load_run_config(tiny_run, {"ranker": {"leaves": 5}}), Console())
    run.ranker(run.store.current("dataset"), run.store.current("embeddings"))
    capsys.readouterr()
    show_status(run.store, Console(machine=True))
    found = json.loads(capsys.readouterr().out)["artifacts"]
    assert {kind: facts["stale"] for kind, facts in found.items()} == {
        kind: ["ranker"] * (kind == "reports") for kind in STAGES
    }
    Run(tiny_home, load_run_config(tiny_run), Console()).everything()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = 'x'\n[dataset]\nfolder = '.'\nstepz = 3", "dataset.stepz"),
        ("name = 'x'\n[dataset]", "name either a world"),
        ("name = 'x'\n[dataset]\nfolder = '.'\nformat = 'ml-2m'", "no format 'ml-2m'"),
        ("name = ", "not TOML"),
        ("name = 'x'\ndataset = 'folder'", "dataset"),
        ("name = 'x'\ncascade.retrieval.weights.item_knn = 1", "no source 'item_knn'"),
        ("name = 'x'\nsize = 'huge'\n[dataset.world]", "size"),
    ],
)
def test_a_wrong_config_is_refused_by_the_name_of_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load_run_config(tmp_path / "run.toml")


def test_the_file_overrides_the_size_and_the_caller_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("name = 'x'\nsize = 'tiny'\n[dataset.world]\n[trainer]\nsteps = 7")
    config = load_run_config(file, {"trainer": {"evaluate_every": 3}})
    assert (config.trainer.steps, config.trainer.evaluate_every, config.trainer.optimizer.warmup_steps) == (7, 3, 5)
