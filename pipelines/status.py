"""What stands in a home folder: the artifact in use of each kind, its age and size, and what it was made from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from pipelines.console import Console
from recsys.artifacts import Artifact, ArtifactStore

STAGES = ("dataset", "tower", "embeddings", "index", "lexical", "hybrid", "user-tower", "ranker", "reports")


def show_status(store: ArtifactStore, console: Console) -> None:
    """Print a table with one line per kind; a part that was made from something else than what is in use is marked."""
    current = {kind: store.current(kind) for kind in STAGES if kind in store.kinds()}
    table = Table(title=f"Home {store.home}", caption="stale: made from something that is no longer in use")
    for column in ("part", "key", "made", "MiB", "from"):
        table.add_column(column)
    found = {}
    for kind, artifact in current.items():
        facts = _facts(artifact, current)
        found[kind] = facts
        origin = ", ".join(f"{role} {key[:8]}" for role, key in artifact.manifest.parents.items())
        stale = f" [yellow]stale: {', '.join(facts['stale'])}[/]" if facts["stale"] else ""
        made = artifact.manifest.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(kind, artifact.key[:8], made, f"{facts['mebibytes']:.1f}", (origin or "raw data") + stale)
    console.say(table if current else f"{store.home} is empty. Next: [bold]recsys quickstart[/]")
    console.finish(home=str(store.home), artifacts=found)


def _facts(artifact: Artifact, current: dict[str, Artifact]) -> dict[str, Any]:
    manifest = artifact.manifest
    stale = [role for role, key in manifest.parents.items() if role in current and current[role].key != key]
    size = sum(file.stat().st_size for file in artifact.path.rglob("*") if file.is_file())
    return {
        "key": artifact.key,
        "path": str(artifact.path),
        "created_at": manifest.created_at.isoformat(),
        "age_hours": (datetime.now(UTC) - manifest.created_at).total_seconds() / 3600,
        "mebibytes": size / 2**20,
        "parents": manifest.parents,
        "stale": stale,
    }
