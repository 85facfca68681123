"""The report as one self-contained page: style, plots and pictures inline, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from recsys.evaluation import plots
from recsys.evaluation.report import (
    EvaluationReport,
    Headline,
    RankingTable,
    RetrievalTable,
    headlines,
    share_of_oracle,
)
from recsys.evaluation.sheet import SheetSection, jpeg_uri, thumbnail_uri
from recsys.evaluation.slices import EVERYTHING
from recsys.evaluation.tower_report import FigureTable, TowerReport, figure_label, tower_headlines


def render_html(report: EvaluationReport, sheet: Sequence[SheetSection] = ()) -> str:
    """The page ``evaluation.html``.

    Args:
        report: the figures.
        sheet: examples to look at, in the order they are shown.
    """
    return _template("report.html").render(
        report=report,
        sheet=sheet,
        headlines=headlines(report),
        retrieval=[_retrieval_view(table) for table in report.retrieval],
        ranking=[_ranking_view(table) for table in report.ranking],
        importance_plot=_importance_plot(report),
        curve_plots=[
            (curve, Markup(plots.curve_lines(curve, f"{curve.title}: {curve.y_label} by {curve.x_label}")))
            for curve in report.curves
        ],
    )


def render_tower_html(
    report: TowerReport, sheet: Sequence[SheetSection] = (), catalogue_map: bytes | None = None
) -> str:
    """The page ``tower_report.html``.

    Args:
        report: the figures.
        sheet: examples to look at, in the order they are shown.
        catalogue_map: a JPEG, see :func:`recsys.evaluation.catalogue_map.draw_map`.
    """
    return _template("tower_report.html").render(
        report=report,
        sheet=sheet,
        headlines=tower_headlines(report),
        tables=[_table_view(table) for table in report.tables],
        catalogue_map=jpeg_uri(catalogue_map) if catalogue_map else None,
    )


def render_explanation(
    title: str,
    reason: str,
    headlines: Sequence[Headline],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    added: Mapping[str, float],
    sheet: Sequence[SheetSection],
) -> str:
    """The page of ``recsys explain``: why an item is, or is not, in a user's feed.

    Args:
        title: which item and which user.
        reason: in a sentence.
        headlines: the places it came to.
        columns: of the table of sources.
        rows: of that table, the source's name first.
        added: what the strongest features add to the ranker's score; none without a ranker.
        sheet: the item and its neighbours.
    """
    return _template("explanation.html").render(
        title=title, reason=reason, headlines=headlines, columns=columns, rows=rows, added=added, sheet=sheet
    )


def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thumbnail"] = thumbnail_uri
    environment.filters["metric"] = figure_label
    return environment.get_template(name)


def _table_view(table: FigureTable) -> dict[str, object]:
    shown = [name for name in table.metrics if name.partition("@")[0] == table.main.partition("@")[0]][:3]
    return {
        "table": table,
        "parts": any(row.part for row in table.rows),
        "plot": Markup(plots.figure_bars(table.rows, shown, f"{table.title}: bars of {', '.join(shown)}")),
    }


def _retrieval_view(table: RetrievalTable) -> dict[str, object]:
    whole = table.on(EVERYTHING)
    metrics = list(dict.fromkeys(name for result in whole for name in result.metrics))
    recalls = [name for name in metrics if name.startswith("recall")][:3] or [table.main_metric]
    warmest = max((row.metrics[table.main_metric].value for row in table.results if row.metrics), default=0)
    rivals = [result for result in whole if result.source != table.oracle]
    return {
        "table": table,
        "whole": whole,
        "metrics": metrics,
        "best": {
            name: max((row.metrics[name].value for row in rivals if name in row.metrics), default=None)
            for name in metrics
        },
        "share": share_of_oracle(table.estimates(), table.oracle),
        "beyond": any(result.coverage is not None for result in whole),
        "warmest": warmest or 1,
        "slices": {name: {row.source: row for row in table.on(name)} for name in (EVERYTHING, *table.slices)},
        "plot": Markup(plots.retrieval_bars(whole, recalls, f"{table.title}: bars of {', '.join(recalls)} by source")),
    }


def _ranking_view(table: RankingTable) -> dict[str, object]:
    estimates = table.estimates()
    alt = f"{table.title}: bars of {table.main_metric} by system"
    return {
        "table": table,
        "metrics": list(dict.fromkeys(name for result in table.results for name in result.metrics)),
        "share": share_of_oracle(estimates, table.oracle),
        "plot": Markup(plots.ranking_bars(estimates, table.baseline, table.oracle, alt)) if estimates else "",
    }


def _importance_plot(report: EvaluationReport) -> str:
    if not report.importance:
        return ""
    return Markup(plots.importance_bars(report.importance, "Share of the ranker's gain by feature"))
