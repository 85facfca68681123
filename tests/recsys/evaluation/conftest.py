"""A report with known figures, and pictures to show on its contact sheet."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from PIL import Image

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import RankingResult
from recsys.evaluation.report import Curve, DatasetSummary, EvaluationReport, RankingTable, RetrievalTable
from recsys.evaluation.retrieval import SourceResult


def estimate(value: float, n: int = 90) -> Estimate:
    return Estimate(value=value, low=value - 0.0113, high=value + 0.0127, n=n)


def source(name: str, slice_name: str, recall: float, ndcg: float) -> SourceResult:
    whole = slice_name == "all"
    return SourceResult(
        source=name,
        slice=slice_name,
        n=90 if whole else 31,
        excluded=1210,
        metrics={"recall@50": estimate(recall), "ndcg@10": estimate(ndcg)},
        coverage=0.4321 if whole else None,
        diversity=0.87 if whole else None,
    )


@pytest.fixture(scope="package")
def report() -> EvaluationReport:
    retrieval = RetrievalTable(
        title="For users",
        caption="What each user engaged with <after> the split.",
        baseline="popularity",
        oracle="oracle",
        slices={"cold": "no engagement before the test"},
        results=(
            source("popularity", "all", 0.101, 0.0512),
            source("fused", "all", 0.303, 0.1517),
            source("oracle", "all", 0.606, 0.4049),
            source("popularity", "cold", 0.0, 0.0),
            source("fused", "cold", 0.2525, 0.1213),
            source("oracle", "cold", 0.505, 0.3037),
        ),
    )
    ranking = RankingTable(
        title="Logged slates",
        caption="The same slates in three orders.",
        baseline="retrieval order",
        oracle="oracle",
        results=(
            RankingResult(
                system="retrieval order", n=77, excluded=8, metrics={"ndcg@10": estimate(0.4321, 77)}, lift={}
            ),
            RankingResult(
                system="ranker",
                n=77,
                excluded=8,
                metrics={"ndcg@10": estimate(0.5432, 77)},
                lift={"ndcg@10": Estimate(value=0.2571, low=0.2013, high=0.3097, n=77)},
            ),
            RankingResult(
                system="oracle",
                n=77,
                excluded=8,
                metrics={"ndcg@10": estimate(0.9053, 77)},
                lift={"ndcg@10": Estimate(value=1.0951, low=1.0113, high=1.1907, n=77)},
            ),
        ),
    )
    return EvaluationReport(
        title="Evaluation",
        created_at=datetime(2025, 1, 2, 3, 4, tzinfo=UTC),
        dataset=DatasetSummary(name="world", description="a small one", counts={"items": 1234, "users": 1300}),
        protocol="Time split.",
        retrieval=(retrieval,),
        ranking=(ranking,),
        importance={"age_hours": 30.0, "similarity": 70.0},
        curves=(Curve(title="Tower", x_label="epoch", y_label="loss", series={"train": ((0, 2.5), (1, 1.5))}),),
        lineage={"tower": "0123456789abcdef"},
        timings={"train-tower": 61.25},
        notes=("Labels come from clicks.",),
    )


@pytest.fixture(scope="package")
def picture() -> bytes:
    """A PNG of 900 x 600 with transparency, red."""
    buffer = io.BytesIO()
    Image.new("RGBA", (900, 600), (200, 30, 40, 255)).save(buffer, "PNG")
    return buffer.getvalue()
