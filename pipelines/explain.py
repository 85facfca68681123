"""Shows why an item is, or is not, in a user's feed: a table, and a page with the pictures of it and its neighbours."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from pipelines.console import Console
from pipelines.contact_sheet import cards
from recsys.artifacts import write_atomically
from recsys.data.dataset import Dataset
from recsys.evaluation.html import render_explanation
from recsys.evaluation.report import Headline
from recsys.evaluation.sheet import Card, Row, SheetSection
from recsys.serving.engine import Engine
from recsys.serving.explanation import Evidence, Explanation, Outcome, View
from recsys.types import ItemId, UserId

COLUMNS = ("source", "place", "rank", "score", "by way of")
NAMED, PICTURED = 2, 6  # neighbours of a source, in the table and on the page


def show_explanation(engine: Engine, user: UserId, item: ItemId, k: int, page: Path | None, console: Console) -> None:
    """Print the way of an item through a feed of k, and write the page where one is asked for."""
    explanation = engine.explain(user, item, k)
    title = f"{item} in the feed of {user}"
    console.say(f"[bold]{explanation.title}[/]\n{explanation.outcome}: {explanation.reason}")
    for line in _headlines(explanation):
        console.say(f"{line.label}: {line.value} ({line.detail})")
    table = Table(title=title, caption="rank: among all items that the user has not engaged with")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("place", "rank", "score") else "left")
    for row in _rows(explanation):
        table.add_row(*row)
    console.say(table)
    if explanation.added:
        told = ", ".join(f"{name} {value:+.2f}" for name, value in explanation.added.items())
        console.say(f"What its features add to the score of an average candidate: {told}")
    if page is not None:
        sheet = _sheet(engine.data, explanation)
        write_atomically(
            page,
            render_explanation(
                title,
                explanation.reason,
                _headlines(explanation),
                COLUMNS,
                _rows(explanation),
                explanation.added,
                [sheet],
            ),
        )
        console.say(f"With pictures: [bold]{page}[/]")
    console.finish(**asdict(explanation), reason=explanation.reason)


def _headlines(explanation: Explanation) -> list[Headline]:
    """The places it came to, as far as it came."""
    lines = [
        ("fused", explanation.fused, f"the first {explanation.candidates} are ranked"),
        ("ranked", explanation.ranked, f"score {explanation.score or 0:.3f}"),
        ("with variety", explanation.final, f"the slate holds {explanation.slate}"),
    ]
    return [Headline(label=label, value=f"#{place}", detail=detail) for label, place, detail in lines if place]


def _rows(explanation: Explanation) -> list[tuple[str, ...]]:
    return [
        (
            view.source,
            _proposed(view, explanation),
            "no evidence" if view.rank is None else f"{view.rank:,}",
            f"{view.score:.3g}",
            "; ".join(f"{found.title or found.item_id} ({_strength(found)})" for found in view.evidence[:NAMED]),
        )
        for view in explanation.views
    ]


def _proposed(view: View, explanation: Explanation) -> str:
    if view.asked and explanation.outcome == Outcome.SEEN:
        return "left out"
    if view.place is not None:
        return f"{view.place} of {view.cut_off}"
    if view.missed:
        return "missed by the index"
    return f"not in {view.cut_off}" if view.asked else "not asked"


def _strength(evidence: Evidence) -> str:
    """How near a neighbour is, or what it adds to the score, and how long ago the user engaged with it."""
    near = f"cosine {evidence.similarity:.2f}" if evidence.contribution is None else f"{evidence.contribution:+.2g}"
    return f"{near}, {'the newest' if evidence.age == 0 else f'{evidence.age} before'}"


def _sheet(data: Dataset, explanation: Explanation) -> SheetSection:
    """A row of pictures per source that has neighbours, those who proposed the item first."""
    rows = [
        Row(_card(data, explanation), tuple(_neighbours(data, view)), f"{view.source}: {_proposed(view, explanation)}")
        for view in explanation.views
        if view.evidence
    ]
    return SheetSection(
        "The item, and what led there",
        "For each source, the user's recent items from which it reaches this one, the strongest first.",
        tuple(rows) or (Row(_card(data, explanation), (), "no source reaches it from what the user did"),),
    )


def _card(data: Dataset, explanation: Explanation) -> Card:
    return cards(data, [data.ids.row(explanation.item_id)])[0]


def _neighbours(data: Dataset, view: View) -> list[Card]:
    shown = view.evidence[:PICTURED]
    pictures = cards(data, [data.ids.row(evidence.item_id) for evidence in shown])
    return [replace(card, subtitle=_strength(evidence)) for card, evidence in zip(pictures, shown, strict=True)]
