"""TowerReport: what an item tower can do, in one record: JSON, terminal tables and a web page show it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from recsys.config import BaseConfig
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import FEWEST_REQUESTS, DatasetSummary, Headline, metric_label


class FigureRow(BaseConfig):
    """One system, direction or read-out, on one part of the data.

    Attributes:
        name: what was measured, such as ``text-only``.
        part: on which part, such as ``cold``; empty where the table has no parts.
        n: requests behind the figures.
        figures: estimate by metric.
        chance: what saying nothing would score, by metric; empty where that means nothing.
    """

    name: str
    part: str = ""
    n: int
    figures: dict[str, Estimate]
    chance: dict[str, float] = Field(default_factory=dict)


class Difference(BaseConfig):
    """One system minus another over the same requests.

    Attributes:
        label: such as ``both - text-only, Recall@10``.
        estimate: mean of the paired differences.
        leading: whether it is a headline.
    """

    label: str
    estimate: Estimate
    leading: bool = False


class FigureTable(BaseConfig):
    """One question put to the tower.

    Attributes:
        title: such as ``Text → image``.
        caption: what was asked and what counts as right.
        main: metric that headlines and bars speak of.
        rows: the answers.
        differences: paired comparisons of rows.
        parts: description by part, where it needs one.
        leading: parts whose best row is a headline.
        higher_is_better: whether it is so for every metric of the table.
    """

    title: str
    caption: str
    main: str
    rows: tuple[FigureRow, ...]
    differences: tuple[Difference, ...] = ()
    parts: dict[str, str] = Field(default_factory=dict)
    leading: tuple[str, ...] = ("",)
    higher_is_better: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics of the rows, in order of appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.figures))

    @property
    def has_chance(self) -> bool:
        """Whether chance means something for the main metric."""
        return any(self.main in row.chance for row in self.rows)

    @property
    def best(self) -> dict[tuple[str, str], float]:
        """Best value by part and metric; only where there is something to be better than."""
        found: dict[tuple[str, str], list[float]] = {}
        for row in self.rows:
            for name, estimate in row.figures.items():
                found.setdefault((row.part, name), []).append(estimate.value)
        choose = max if self.higher_is_better else min
        return {key: choose(values) for key, values in found.items() if len(set(values)) > 1}


class TowerReport(BaseConfig):
    """One evaluation of one tower.

    Attributes:
        title: of the page.
        created_at: moment of the evaluation.
        dataset: what was evaluated on.
        tower: what it is: family, parameters and the like, in the order they are shown.
        protocol: which items were evaluated, and how, in words.
        tables: the measurements; those the data or the tower does not allow are missing.
        lineage: artifact key by kind.
        timings: seconds by part of the evaluation.
        notes: caveats, each a sentence.
    """

    title: str
    created_at: datetime
    dataset: DatasetSummary
    tower: dict[str, str]
    protocol: str
    tables: tuple[FigureTable, ...]
    lineage: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The whole record, indented; ``TowerReport.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2)


def tower_headlines(report: TowerReport) -> tuple[Headline, ...]:
    """The best row of every leading part of every table, beside chance, and the leading differences."""
    found: list[Headline] = []
    for table in report.tables:
        for part in table.leading:
            rows = [row for row in table.rows if row.part == part and row.n >= FEWEST_REQUESTS]
            rows = [row for row in rows if table.main in row.figures]
            if rows:
                choose = max if table.higher_is_better else min
                found.append(_headline(table, choose(rows, key=lambda row: row.figures[table.main].value)))
        found += [
            Headline(
                label=f"{table.title}: {difference.label}",
                value=f"{difference.estimate.value:+.3f}",
                detail=f"95% interval {difference.estimate.low:+.3f} to {difference.estimate.high:+.3f}",
            )
            for difference in table.differences
            if difference.leading and difference.estimate.n >= FEWEST_REQUESTS
        ]
    return tuple(found)


def figure_label(name: str) -> str:
    """``recall@10`` as ``Recall@10``; names without a cut-off stay as they are."""
    return metric_label(name) if "@" in name else name


def _headline(table: FigureTable, row: FigureRow) -> Headline:
    estimate = row.figures[table.main]
    detail = [row.name, f"95% interval {estimate.low:.3f} to {estimate.high:.3f}"]
    chance = row.chance.get(table.main)
    if chance:
        detail.append(f"{estimate.value / chance:.1f} times chance ({chance:.3g})")
    where = f", {row.part}" if row.part else ""
    return Headline(
        label=f"{table.title}{where}: {figure_label(table.main)}",
        value=f"{estimate.value:.3f}",
        detail=", ".join(detail),
    )
