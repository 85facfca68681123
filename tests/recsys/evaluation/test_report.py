from __future__ import annotations

import json

from recsys.evaluation.report import EvaluationReport, headlines, metric_label, share_of_oracle


def test_json_holds_the_figures_and_reads_back_the_same(report: EvaluationReport) -> None:
    text = report.to_json()
    first = json.loads(text)["retrieval"][0]["results"][1]
    assert (first["source"], first["slice"], first["n"]) == ("fused", "all", 90)
    assert first["metrics"]["recall@50"]["value"] == 0.303
    assert EvaluationReport.model_validate_json(text) == report


def test_headlines_name_the_best_rival_and_never_the_oracle(report: EvaluationReport) -> None:
    assert [(line.label, line.value, line.detail) for line in headlines(report)] == [
        ("For users: Recall@50", "0.303", "fused, 3.0 times popularity, 50% of the oracle"),
        ("For users, cold items: Recall@50", "0.253", "fused, popularity finds none, 50% of the oracle"),
        ("Logged slates: NDCG@10", "+25.7%", "ranker over retrieval order, 95% interval +20.1% to +31.0%"),
    ]


def test_share_of_the_oracle(report: EvaluationReport) -> None:
    estimates = report.retrieval[0].estimates()
    shares = share_of_oracle(estimates, "oracle")
    assert {name: round(share, 4) for name, share in shares.items()} == {
        "popularity": 0.1667,
        "fused": 0.5,
        "oracle": 1.0,
    }
    assert share_of_oracle(estimates, None) == {}
    assert share_of_oracle(report.retrieval[0].estimates("cold"), "popularity") == {}


def test_metrics_are_written_as_the_field_writes_them() -> None:
    assert [metric_label(name) for name in ("recall@50", "ndcg@10", "hr@10")] == ["Recall@50", "NDCG@10", "HR@10"]
