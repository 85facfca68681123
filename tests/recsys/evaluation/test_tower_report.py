"""A tower's report with known figures: its headlines, its page and its terminal tables."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from recsys.evaluation.html import render_tower_html
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import DatasetSummary
from recsys.evaluation.sheet import Card, Row, SheetSection, Words
from recsys.evaluation.terminal import print_tower_report
from recsys.evaluation.tower_report import (
    Difference,
    FigureRow,
    FigureTable,
    TowerReport,
    figure_label,
    tower_headlines,
)


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.0113, high=value + 0.0127, n=90)


def row(name: str, part: str, **figures: float) -> FigureRow:
    measured = {metric.replace("_", "@"): estimate(value) for metric, value in figures.items()}
    return FigureRow(name=name, part=part, n=1090, figures=measured, chance={"recall@10": 0.0125})


@pytest.fixture(scope="module")
def tower_report() -> TowerReport:
    items = FigureTable(
        title="Item → item",
        caption="Partners <after> the window.",
        main="recall@10",
        rows=(
            row("text-only", "all", recall_10=0.25, recall_50=0.5),
            row("both", "all", recall_10=0.375, recall_50=0.4375),
            row("text-only", "cold", recall_10=0.125),
            row("both", "cold", recall_10=0.0625),
        ),
        differences=(
            Difference(label="both − text-only, all", estimate=estimate(0.125), leading=True),
            Difference(label="both − text-only, cold", estimate=estimate(-0.0625)),
        ),
        parts={"cold": "never met"},
        leading=("all", "cold"),
    )
    captions = FigureTable(
        title="Captions",
        caption="Likelihood.",
        main="nll",
        rows=(
            FigureRow(name="right picture", n=50, figures={"nll": estimate(3.25)}),
            FigureRow(name="another picture", n=50, figures={"nll": estimate(3.5)}),
        ),
        leading=(),
        higher_is_better=False,
    )
    return TowerReport(
        title="The clip tower",
        created_at=datetime(2025, 1, 2, 3, 4, tzinfo=UTC),
        dataset=DatasetSummary(name="world", description="a small one", counts={"items": 1234}),
        tower={"family": "clip", "parameters": "1,234,567"},
        protocol="Evaluated are the 90 items held out.",
        tables=(items, captions),
        lineage={"tower": "0123456789abcdef"},
        timings={"item and item": 61.25},
        notes=("One [bracketed] note.",),
    )


@pytest.fixture(scope="module")
def page(tower_report: TowerReport, picture: bytes) -> str:
    card = Card("狗", "animal", picture, hit=True)
    rows = (Row("a dog & a ball", (card,)), Row(card, (Words("一只 <狗>", hit=True), Words("a cat", "by a person"))))
    return render_tower_html(tower_report, [SheetSection("Look", "Both ways.", rows)], picture)


def test_json_reads_back_the_same(tower_report: TowerReport) -> None:
    assert TowerReport.model_validate_json(tower_report.to_json()) == tower_report


def test_headlines_are_the_best_rows_beside_chance_and_the_leading_differences(tower_report: TowerReport) -> None:
    assert [(line.label, line.value, line.detail) for line in tower_headlines(tower_report)] == [
        (
            "Item → item, all: Recall@10",
            "0.375",
            "both, 95% interval 0.364 to 0.388, 30.0 times chance (0.0125)",
        ),
        (
            "Item → item, cold: Recall@10",
            "0.125",
            "text-only, 95% interval 0.114 to 0.138, 10.0 times chance (0.0125)",
        ),
        ("Item → item: both − text-only, all", "+0.125", "95% interval +0.114 to +0.138"),
    ]


def test_a_figure_over_few_is_no_headline(tower_report: TowerReport) -> None:
    items = tower_report.tables[0]
    few = items.model_copy(update={"rows": tuple(row.model_copy(update={"n": 29}) for row in items.rows)})
    shown = tower_headlines(tower_report.model_copy(update={"tables": (few,)}))
    assert [line.value for line in shown] == ["+0.125"]


def test_the_best_of_each_part_is_known_and_lower_may_be_better(tower_report: TowerReport) -> None:
    items, captions = tower_report.tables
    assert items.best == {("all", "recall@10"): 0.375, ("all", "recall@50"): 0.5, ("cold", "recall@10"): 0.125}
    assert captions.best == {("", "nll"): 3.25}
    assert (items.has_chance, captions.has_chance) == (True, False)


def test_the_page_shows_every_figure_and_marks_the_best(tower_report: TowerReport, page: str) -> None:
    for table in tower_report.tables:
        for found in table.rows:
            for value in (bound for figure in found.figures.values() for bound in (figure.value, figure.low)):
                assert f"{value:.3f}" in page
    assert re.findall(r'class="best">([\d.]+)', page) == ["0.500", "0.375", "0.125", "3.250"]
    for text in ("+0.114 to +0.138", "-0.062", "never met", "1,090", "&lt;after&gt;", "1,234,567", "0123456789abcdef"):
        assert text in page, text
    assert page.count("<svg") == 2
    assert "#01020" not in page


def test_texts_are_answers_too(page: str) -> None:
    words = re.findall(r'<figure class="card words( hit)?"><p>(.*?)</p>(?:<small>(.*?)</small>)?', page)
    assert words == [(" hit", "一只 &lt;狗&gt;", ""), ("", "a cat", "by a person")]


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    assert re.findall(r"https?:", page) == []
    assert re.findall(r"""(?:src|href)=["'](?!data:image/jpeg;base64,|#)""", page) == []


def test_a_bare_report_is_a_page_too(tower_report: TowerReport) -> None:
    bare = tower_report.model_copy(update={"tables": (), "lineage": {}, "timings": {}, "notes": ()})
    page = render_tower_html(bare)
    assert "<table" not in page
    assert "held out" in page


def test_the_terminal_shows_the_same_figures(tower_report: TowerReport) -> None:
    buffer = io.StringIO()
    print_tower_report(tower_report, Console(file=buffer, width=160, color_system=None))
    shown = buffer.getvalue()
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line.startswith("│")
    ]
    assert rows == [
        ["text-only", "all", "0.250", "0.500", "0.0125", "1,090"],
        ["both", "all", "0.375", "0.438", "0.0125", "1,090"],
        ["text-only", "cold", "0.125", "–", "0.0125", "1,090"],
        ["both", "cold", "0.062", "–", "0.0125", "1,090"],
        ["right picture", "3.250", "50"],
        ["another picture", "3.500", "50"],
    ]
    assert "both − text-only, cold  -0.062 [-0.074, -0.050]" in shown
    assert "One [bracketed] note." in shown


def test_only_cut_offs_are_written_large() -> None:
    assert [figure_label(name) for name in ("recall@10", "nll", "top-1")] == ["Recall@10", "nll", "top-1"]
