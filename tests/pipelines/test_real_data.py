"""The promise on real data: a whole run over MovieLens-1M with posters and plots, minutes long."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import CONFIGS
from pipelines.console import Console
from pipelines.evaluate import read_report
from pipelines.run import Run
from pipelines.run_config import load_run_config


@pytest.mark.slow
def test_movielens_1m_leave_last_out(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "ml1m-multimodal"
    config = load_run_config(CONFIGS / "ml1m.toml", {"dataset": {"folder": str(folder)}})
    report = Run(tmp_path, config, Console()).everything()
    assert report is not None
    feed = read_report(report.path).retrieval[0]
    found = {result.source: result for result in feed.on("all")}
    assert found["ranked"].n == 6040
    assert found["ranked"].metrics["hr@10"].value >= 0.20
    assert found["ranked"].metrics["ndcg@10"].value >= 0.11
    assert found["popularity"].metrics["hr@10"].value == pytest.approx(0.039, abs=0.001)  # measured elsewhere
    assert found["ranked"].metrics["ndcg@10"].low > found["fused"].metrics["ndcg@10"].value
