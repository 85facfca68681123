"""Commands about the index generations of a home folder: list them, go back to an earlier one, remove idle ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.build_index import KIND
from pipelines.console import Console
from recsys.artifacts import ArtifactStore

HOME = Path("artifacts")
Home = Annotated[Path, typer.Option(help="Home folder: everything made is kept here.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def list_generations(home: Home = HOME, json: Json = False) -> None:
    """The index generations, newest first: which is in use, and which `recsys index rollback` returns to."""
    store, console = ArtifactStore(home), Console(json)
    used = store.used_keys(KIND)
    table = Table(title=f"Index generations in {home}")
    for column in ("", "key", "made", "items", "recall@10", "from"):
        table.add_column(column)
    found = []
    for artifact in store.artifacts(KIND):
        manifest, place = artifact.manifest, used.index(artifact.key) if artifact.key in used else None
        state = {None: "idle", 0: "in use"}.get(place, f"{place} back")
        made = manifest.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        origin = ", ".join(f"{role} {key[:8]}" for role, key in manifest.parents.items())
        figures = manifest.metrics
        table.add_row(state, artifact.key[:8], made, f"{figures['rows']:,}", f"{figures['recall@10']:.3f}", origin)
        found.append({"key": artifact.key, "state": state, "created_at": manifest.created_at, "metrics": figures})
    console.say(table if found else f"No index generations in {home}. Next: [bold]recsys index[/]")
    console.finish(generations=found)


def rollback(home: Home = HOME, json: Json = False) -> None:
    """Put the index generation to use that was in use before; servers go over to it at their next refresh."""
    console = Console(json)
    artifact = ArtifactStore(home).rollback(KIND)
    console.say(
        f"In use again: {artifact.path}\nThe later one is removed by [bold]recsys index gc[/], or used again by"
    )
    console.say("[bold]recsys index[/] with the settings it was built with.")
    console.finish(key=artifact.key, path=str(artifact.path))


def gc(
    keep: Annotated[int, typer.Option(min=0, help="Earlier generations to keep for `recsys index rollback`.")] = 2,
    home: Home = HOME,
    json: Json = False,
) -> None:
    """Remove index generations that are neither in use nor kept, and that no server has open; and unfinished builds."""
    console = Console(json)
    removed = ArtifactStore(home).collect(KIND, keep)
    console.say(f"Removed {len(removed)} index generations{': ' if removed else '.'}{', '.join(removed)}")
    console.finish(removed=removed)
