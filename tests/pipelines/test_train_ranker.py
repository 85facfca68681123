from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.train_ranker import CONTRIBUTIONS
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.evaluation.report import EvaluationReport
from recsys.exceptions import ArtifactError


def test_impressions_are_the_negatives_where_they_were_logged(tiny_home: Path) -> None:
    metrics = ArtifactStore(tiny_home).current("ranker").manifest.metrics
    assert metrics["negatives"] == "impressions"
    assert metrics["unbiased"]
    assert metrics["train_rows"] == 10 * metrics["train_requests"]  # slates of ten


def test_what_each_feature_adds_is_drawn_beside_the_ranker(tiny_home: Path) -> None:
    with Image.open(ArtifactStore(tiny_home).current("ranker").path / CONTRIBUTIONS) as plot:
        assert plot.format == "PNG"


def test_without_impressions_negatives_are_retrieved_and_the_report_says_so(tiny_home: Path, tmp_path: Path) -> None:
    """The tiny world with everything but its clicks taken away, and its clock too: leave-last-out."""
    source = ArtifactStore(tiny_home).current("dataset").path
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "items.parquet").symlink_to(source / "items.parquet")
    events = pq.read_table(source / "events.parquet", columns=["user_id", "item_id", "event_type", "timestamp"])
    clicks = events.filter(pq.read_table(source / "events.parquet")[schemas.EVENT_TYPE].to_numpy() == "click")
    clicks = clicks.append_column("n", [list(range(len(clicks)))])
    pq.write_table(clicks.select(["user_id", "item_id", "n"]), raw / "clicks.parquet")
    (tmp_path / "mapping.toml").write_text(
        """
        [items]
        files = "items.parquet"
        columns = { item_id = "item_id", title = "title", text = "text", images = "images", tags = "tags" }
        [events]
        files = "clicks.parquet"
        columns = { user_id = "user_id", item_id = "item_id", order = "n" }
        constants.event_type = "click"
        """
    )
    (tmp_path / "run.toml").write_text(
        f"""
        name = "clicks"
        size = "tiny"
        negatives_per_request = 20
        split.label_items = 2
        dataset = {{ folder = "{raw}", mapping = "mapping.toml" }}
        """
    )
    run = Run(tmp_path / "home", load_run_config(tmp_path / "run.toml"), Console())
    assert run.everything() is not None
    metrics = run.store.current("ranker").manifest.metrics
    assert metrics["negatives"] == "retrieved"
    assert metrics["train_rows"] == 21 * metrics["train_requests"]  # one answer, twenty negatives
    report = EvaluationReport.model_validate_json((tmp_path / "home/reports/evaluation.json").read_text())
    assert report.protocol.startswith("Leave-last-out")
    assert report.retrieval[0].main_metric == "hr@10"
    assert any("sampled from what the sources retrieved" in note for note in report.notes)


def test_vectors_of_another_data_set_are_refused(tiny_home: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, load_run_config(tiny_run, {"dataset": {"world": {"seed": 8}}}), Console())
    embeddings = ArtifactStore(tiny_home).current("embeddings")
    with pytest.raises(ArtifactError, match="made from another dataset"):
        run.ranker(run.dataset(), embeddings)
