"""Plots of the report as inline SVG, in the colours of the page around them (light or dark). The home of matplotlib.

Text stays text, set in the font of the page. Labels are names of sources, systems and features: Latin script. A plot
that stands beside an artifact, and not in a page, is a PNG on white.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import Curve
from recsys.evaluation.retrieval import SourceResult
from recsys.evaluation.tower_report import FigureRow, figure_label
from recsys.index.tuning import Tuning
from recsys.types import FloatArray

# Stand-ins that the page's CSS variables replace in the finished SVG.
INK, MUTED, GRID, ACCENT, SECOND, THIRD, QUIET = (f"#01020{n}" for n in range(3, 10))
VARIABLES = dict(
    zip(
        (INK, MUTED, GRID, ACCENT, SECOND, THIRD, QUIET),
        ("--ink", "--muted", "--line", "--accent", "--second", "--third", "--quiet"),
        strict=True,
    )
)
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
WIDTH_INCHES = 7.6
ON_WHITE = {INK: "#1f1d1b", MUTED: "#77706a", GRID: "#e9e3dc", ACCENT: "#d9344a"}  # of page.css


def retrieval_bars(results: Sequence[SourceResult], metrics: Sequence[str], alt: str) -> str:
    """Horizontal bars per source, one per metric (at most three), with 95% intervals."""
    return _metric_bars([row.source for row in results], [row.metrics for row in results], metrics, alt)


def figure_bars(rows: Sequence[FigureRow], metrics: Sequence[str], alt: str) -> str:
    """The same for the rows of a tower's table; a dark stroke across a bar marks what chance would score."""
    names = [f"{row.name}, {row.part}" if row.part else row.name for row in rows]
    return _metric_bars(names, [row.figures for row in rows], metrics, alt, [row.chance for row in rows])


def _metric_bars(
    names: Sequence[str],
    figures: Sequence[Mapping[str, Estimate]],
    metrics: Sequence[str],
    alt: str,
    chances: Sequence[Mapping[str, float]] = (),
) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 0.55 + 0.46 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        height = 0.78 / len(metrics)
        for rank, (metric, colour) in enumerate(zip(metrics, (ACCENT, SECOND, THIRD), strict=False)):
            shift = (rank - (len(metrics) - 1) / 2) * height
            drawn = [(place, row[metric]) for place, row in enumerate(figures) if metric in row]
            places = [place + shift for place, _ in drawn]
            _bars(axes, places, [estimate for _, estimate in drawn], 0.86 * height, colour, figure_label(metric))
            marked = [(place + shift, row[metric]) for place, row in enumerate(chances) if metric in row]
            if marked:
                middles = [place for place, _ in marked]
                low, high = ([middle + side * 0.43 * height for middle in middles] for side in (-1, 1))
                axes.vlines([chance for _, chance in marked], low, high, color=INK, linewidth=1.4)
        _name_rows(axes, names)
        if len(metrics) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(metrics), fontsize=9)
        return _svg(figure, alt)


def ranking_bars(estimates: Mapping[str, Estimate], baseline: str, oracle: str | None, alt: str) -> str:
    """One horizontal bar per system with its 95% interval; a line marks the baseline, pale bars do not compete."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 0.4 + 0.46 * len(estimates)), layout="constrained")
        axes = figure.add_subplot()
        colours = {baseline: QUIET, oracle: THIRD}
        for place, (name, estimate) in enumerate(estimates.items()):
            _bars(axes, [place], [estimate], 0.6, colours.get(name, ACCENT), name)
            axes.annotate(
                f"{estimate.value:.3f}",
                (estimate.high, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
            )
        if baseline in estimates:
            axes.axvline(estimates[baseline].value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlim(0, 1.1 * max(estimate.high for estimate in estimates.values()) or 1)
        _name_rows(axes, list(estimates))
        return _svg(figure, alt)


def importance_bars(importance: Mapping[str, float], alt: str, top: int = 15) -> str:
    """The features that decide most, as shares of the total gain."""
    total = sum(importance.values()) or 1
    largest = sorted(importance.items(), key=lambda pair: -pair[1])[:top]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 0.4 + 0.27 * len(largest)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(range(len(largest)), [100 * gain / total for _, gain in largest], height=0.62, color=SECOND)
        _name_rows(axes, [name for name, _ in largest])
        axes.set_xlabel("share of gain, %")
        return _svg(figure, alt)


def curve_lines(curve: Curve, alt: str) -> str:
    """Lines over a common axis."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.65 * WIDTH_INCHES, 2.7), layout="constrained")
        axes = figure.add_subplot()
        for colour, (name, points) in zip((ACCENT, SECOND, THIRD, MUTED), curve.series.items(), strict=False):
            marker = "o" if len(points) < 30 else None
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker=marker, markersize=4, label=name)
        axes.set_xlabel(curve.x_label)
        axes.set_ylabel(curve.y_label)
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(curve.series), fontsize=9)
        return _svg(figure, alt)


def contribution_swarm(
    names: Sequence[str], features: FloatArray, contributions: npt.NDArray[np.float64], top: int = 15
) -> bytes:
    """What each feature added to each score: a dot a candidate, from blue (low value) to red; a PNG.

    The features that move scores most stand on top; dots of missing values are dark grey.

    Args:
        names: of the features.
        features: their values, float32 ``[rows, len(names)]``.
        contributions: to the scores, ``[rows, len(names)]``, see
            :meth:`recsys.ranking.lightgbm_ranker.LightGBMRanker.contributions`.
        top: how many features are drawn.
    """
    strongest = np.argsort(-np.abs(contributions).mean(axis=0), kind="stable")[:top]
    with mpl.rc_context(_on_white()):
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.36 * len(strongest)), layout="constrained")
        axes = figure.add_subplot()
        for place, feature in enumerate(strongest):
            added, values = contributions[:, feature], features[:, feature]
            known = ~np.isnan(values)
            shift = place + _spread(added)
            axes.scatter(added[~known], shift[~known], s=5, color=ON_WHITE[MUTED], linewidths=0)
            share = np.searchsorted(np.sort(values[known]), values[known], side="right") / max(int(known.sum()), 1)
            axes.scatter(added[known], shift[known], s=5, c=share, cmap="coolwarm", vmin=0, vmax=1, linewidths=0)
        axes.axvline(0, color=ON_WHITE[MUTED], linewidth=0.9)
        axes.set_yticks(range(len(strongest)), [names[feature] for feature in strongest])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("added to the score; blue: low value of the feature, red: high, dark grey: missing")
        return _png(figure)


def tuning_curve(tuning: Tuning) -> bytes:
    """Recall against the median time of a query, a line for each number of answers refined; a PNG."""
    with mpl.rc_context(_on_white() | {"axes.spines.left": True}):
        figure = Figure(figsize=(WIDTH_INCHES, 0.6 * WIDTH_INCHES), layout="constrained")
        axes = figure.add_subplot()
        for refine in sorted({point.refine for point in tuning.points}):
            line = [point for point in tuning.points if point.refine == refine]
            label = f"{refine:g} k refined" if refine > 1 else None
            axes.plot([point.milliseconds for point in line], [point.recall for point in line], "o-", label=label)
            for point in line:
                axes.annotate(
                    f"{point.breadth}",
                    (point.milliseconds, point.recall),
                    xytext=(4, -10),
                    textcoords="offset points",
                    fontsize=8,
                )
        chosen = tuning.chosen
        axes.plot(chosen.milliseconds, chosen.recall, "o", markersize=14, fillstyle="none", color=ON_WHITE[ACCENT])
        axes.axhline(tuning.target, color=ON_WHITE[MUTED], linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel("median ms of one query")
        axes.set_ylabel(f"recall@{tuning.k}")
        axes.set_title(str(tuning), fontsize=10, loc="left")
        if any(point.refine > 1 for point in tuning.points):
            axes.legend(loc="lower right", fontsize=9)
        return _png(figure)


def _spread(along: npt.NDArray[np.float64], bins: int = 80) -> npt.NDArray[np.float64]:
    """How far each dot goes off the line so that those at about the same place do not cover each other, within .4."""
    width = float(np.ptp(along)) or 1.0
    bin_of = ((along - along.min()) / width * bins).astype(np.int64)
    order = np.argsort(bin_of, kind="stable")
    counts = np.bincount(bin_of)
    rank = np.empty(len(along), np.int64)
    rank[order] = np.arange(len(along)) - (np.cumsum(counts) - counts)[bin_of[order]]
    return np.asarray((rank - (counts[bin_of] - 1) / 2) / counts.max() * 0.8)


def _on_white() -> dict[str, Any]:
    return {key: ON_WHITE.get(value, value) if isinstance(value, str) else value for key, value in STYLE.items()}


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _bars(
    axes: Any, places: Sequence[float], estimates: Sequence[Estimate], height: float, colour: str, label: str
) -> None:
    values = [estimate.value for estimate in estimates]
    below = [max(0.0, estimate.value - estimate.low) for estimate in estimates]
    above = [max(0.0, estimate.high - estimate.value) for estimate in estimates]
    whiskers = {"ecolor": MUTED, "elinewidth": 1, "capsize": 1.5}
    axes.barh(places, values, height=height, color=colour, label=label, xerr=[below, above], error_kw=whiskers)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(left=0)


def _svg(figure: Figure, alt: str) -> str:
    """The drawing as an inline element without header, metadata or fixed colours."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": alt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(alt)}">', drawing)
    for stand_in, variable in VARIABLES.items():
        drawing = drawing.replace(stand_in, f"var({variable})")
    return drawing
