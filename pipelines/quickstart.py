"""The end of a run: the report on the terminal and, after the quickstart, three questions asked of the engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.answers import open_engine, slate_table
from pipelines.console import Console, terminal
from pipelines.evaluate import KIND, read_report
from pipelines.evaluate_tower import KIND as TOWER_KIND
from pipelines.evaluate_tower import PAGE, read_tower_report
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore
from recsys.evaluation.terminal import print_report, print_tower_report
from recsys.types import ItemId, UserId

QUESTION = "手冲咖啡"
ANSWERS = 5


def show_report(report: Artifact | None, home: Path, console: Console) -> None:
    """Print the tables and say where the page is."""
    if report is None:
        return
    if console.machine:
        console.outcome["report"] = read_report(report.path).model_dump(mode="json")
        return
    print_report(read_report(report.path), terminal())
    console.say(f"\nThe whole report, with pictures: [bold]{home / KIND / 'evaluation.html'}[/]")


def show_tower_report(report: Artifact, home: Path, console: Console) -> None:
    """Print the tables of a tower and say where the page is."""
    found = read_tower_report(report.path)
    if console.machine:
        console.outcome["tower_report"] = found.model_dump(mode="json")
        return
    print_tower_report(found, terminal())
    console.say(f"\nThe whole report, with pictures and a map: [bold]{home / TOWER_KIND / PAGE}[/]")


def tour(store: ArtifactStore, console: Console) -> dict[str, Any]:
    """Ask for a text, a related note and a feed, and show the answers."""
    engine = open_engine(store)
    clicks = engine.data.events.filter(engine.data.events[schemas.EVENT_TYPE] == schemas.CLICK)
    active = clicks[schemas.USER_ID].value_counts().sort(["count", schemas.USER_ID], descending=[True, False])
    user = UserId(active[schemas.USER_ID][0])
    item = ItemId(engine.recent(user, 1)[0])
    questions = {
        f"search {QUESTION}": engine.search_text(QUESTION, ANSWERS),
        f"similar {item}": engine.related(item, ANSWERS),
        f"recommend {user}": engine.feed(user, ANSWERS),
    }
    for question, answers in questions.items():
        console.say(slate_table(answers, f"recsys {question}"))
    console.say(
        "Next: ask your own: [bold]recsys search TEXT[/], [bold]recsys recommend USER[/], [bold]recsys status[/]"
    )
    return {"answers": {question: [asdict(answer) for answer in answers] for question, answers in questions.items()}}
