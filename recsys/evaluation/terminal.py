"""The report on a terminal: one table per comparison, the figures of the page without its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import (
    EvaluationReport,
    Headline,
    RankingTable,
    RetrievalTable,
    headlines,
    metric_label,
    share_of_oracle,
)
from recsys.evaluation.slices import EVERYTHING
from recsys.evaluation.tower_report import FigureTable, TowerReport, figure_label, tower_headlines

NO_FIGURE = "–"


def print_report(report: EvaluationReport, console: Console) -> None:
    """Print headlines, tables and notes."""
    _print(report, headlines(report), report_tables(report), console)


def print_tower_report(report: TowerReport, console: Console) -> None:
    """Print headlines, tables and notes of a tower."""
    _print(report, tower_headlines(report), map(_figures, report.tables), console)


def _print(
    report: EvaluationReport | TowerReport,
    leading: Iterable[Headline],
    tables: Iterable[RenderableType],
    console: Console,
) -> None:
    console.print(f"\n[bold]{report.title}[/bold]  {report.dataset.name}. {report.protocol}")
    for headline in leading:
        console.print(f"  [bold green]{headline.value}[/bold green]  {headline.label} [dim]({headline.detail})[/dim]")
    for table in tables:
        console.print(table)
    for note in report.notes:
        console.print(f"[dim]* {escape(note)}[/dim]")


def report_tables(report: EvaluationReport) -> Iterator[Table]:
    """The comparisons as tables."""
    for retrieval in report.retrieval:
        yield _retrieval(retrieval)
        if retrieval.slices:
            yield _slices(retrieval)
    for ranking in report.ranking:
        yield _ranking(ranking)


def _retrieval(table: RetrievalTable) -> Table:
    whole = table.on(EVERYTHING)
    metrics = list(dict.fromkeys(name for result in whole for name in result.metrics))
    share = share_of_oracle(table.estimates(), table.oracle)
    drawn = _table(f"Retrieval: {table.title}", "source", [*map(metric_label, metrics), "coverage", "of oracle", "n"])
    for row in whole:
        figures = [_figure(row.metrics.get(name)) for name in metrics]
        coverage = NO_FIGURE if row.coverage is None else f"{row.coverage:.1%}"
        drawn.add_row(row.source, *figures, coverage, _share(share.get(row.source)), f"{row.n:,}")
    return drawn


def _slices(table: RetrievalTable) -> Table:
    results = {name: {row.source: row for row in table.on(name)} for name in table.slices}
    columns = [f"{name}\nn = {max((row.n for row in rows.values()), default=0):,}" for name, rows in results.items()]
    drawn = _table(f"{metric_label(table.main_metric)} on slices: {table.title}", "source", columns)
    for row in table.on(EVERYTHING):
        figures = [table.estimates(name).get(row.source) for name in table.slices]
        drawn.add_row(row.source, *map(_figure, figures))
    return drawn


def _ranking(table: RankingTable) -> Table:
    metrics = list(dict.fromkeys(name for result in table.results for name in result.metrics))
    share = share_of_oracle(table.estimates(), table.oracle)
    lift = f"{metric_label(table.main_metric)} lift over {table.baseline}"
    drawn = _table(f"Ranking: {table.title}", "order", [*map(metric_label, metrics), lift, "of oracle", "n"])
    for row in table.results:
        gain = row.lift.get(table.main_metric)
        lifted = NO_FIGURE if gain is None else f"{gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]"
        figures = [_figure(row.metrics.get(name)) for name in metrics]
        drawn.add_row(row.system, *figures, lifted, _share(share.get(row.system)), f"{row.n:,}")
    return drawn


def _figures(table: FigureTable) -> RenderableType:
    parts = any(row.part for row in table.rows)
    chance = [f"chance of\n{figure_label(table.main)}"] if table.has_chance else []
    columns = [*(["part"] if parts else []), *map(figure_label, table.metrics), *chance, "n"]
    drawn = _table(table.title, "", columns)
    for row in table.rows:
        cells = [_figure(row.figures.get(name)) for name in table.metrics]
        if table.has_chance:
            cells.append(f"{row.chance[table.main]:.4f}" if table.main in row.chance else NO_FIGURE)
        drawn.add_row(row.name, *([row.part] if parts else []), *cells, f"{row.n:,}")
    lines = [
        f"{difference.label}  {difference.estimate.value:+.3f} "
        f"[{difference.estimate.low:+.3f}, {difference.estimate.high:+.3f}]"
        for difference in table.differences
    ]
    return Group(drawn, *map(escape, lines))


def _table(title: str, first: str, others: list[str]) -> Table:
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    drawn.add_column(first, no_wrap=True)
    for name in others:
        drawn.add_column(name, justify="right")
    return drawn


def _figure(estimate: Estimate | None) -> str:
    return NO_FIGURE if estimate is None else f"{estimate.value:.3f}"


def _share(share: float | None) -> str:
    return NO_FIGURE if share is None else f"{share:.0%}"
