"""Commands about the feature store of a home folder: what is declared, how fresh it is, and what it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from feature_store.exceptions import DefinitionError
from feature_store.registry import SERVICES, Registry, compare, differences
from feature_store.store import FeatureStore
from pipelines.console import Console

FOLDER = "features"
"""Of the feature store, in a home folder."""
HOME = Path("artifacts")
Home = Annotated[Path, typer.Option(help="Home folder: everything made is kept here.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Views = Annotated[list[str] | None, typer.Argument(help="Views such as item_stats@1; default: all.")]


def features(context: typer.Context, home: Home = HOME, json: Json = False) -> None:
    """The feature store: what is declared, and by the commands below what differs, how fresh it is and how it looks."""
    if context.invoked_subcommand is None:
        list_features(home, json)


def list_features(home: Home = HOME, json: Json = False) -> None:
    """The feature views that are declared, their features, and the services that models are trained with."""
    registry, console = Registry(home / FOLDER / "registry"), Console(json)
    table = Table(title=f"Feature views in {home}")
    for column in ("view", "by", "holds", "owner", "features"):
        table.add_column(column)
    views = registry.views()
    for view in views:
        holds = "for ever" if view.ttl is None else str(view.ttl)
        table.add_row(
            view.label, ", ".join(view.keys), holds, view.owner, ", ".join(field.name for field in view.fields)
        )
    services = {
        name.removeprefix(f"{SERVICES}/"): record["meaning"]["features"]
        for name, record in registry.records().items()
        if name.startswith(SERVICES)
    }
    console.say(table if views else f"No feature views in {home}.")
    for label, features in services.items():
        console.say(f"Service [bold]{label}[/]: {', '.join(features)}")
    console.finish(views=[view.model_dump(mode="json") for view in views], services=services)


def diff(
    before: Annotated[str, typer.Argument(help="A registry folder, or a view or service such as feed@1.")],
    after: Annotated[str, typer.Argument(help="The same of what it is compared with.")],
    home: Home = HOME,
    json: Json = False,
) -> None:
    """What differs between two registries, or two versions of a view or a service."""
    console = Console(json)
    if Path(before).is_dir() and Path(after).is_dir():
        found = compare(Registry(Path(before)).records(), Registry(Path(after)).records())
    else:
        records = Registry(home / FOLDER / "registry").records()
        name = f"{before} -> {after}"
        changes = differences(_named(records, before)["meaning"], _named(records, after)["meaning"])
        found = {name: changes} if changes else {}
    for name, changes in found.items():
        console.say(f"[bold]{name}[/]")
        for change in changes:
            console.say(f"  {change}")
    console.say("" if found else "No difference.")
    console.finish(differences=found)


def materialize(views: Views = None, home: Home = HOME, json: Json = False) -> None:
    """Bring the embedded online store up to date with what was written since the last time."""
    store, console = FeatureStore(home / FOLDER), Console(json)
    done = [store.materialize(view) for view in _chosen(store, views)]
    for one in done:
        console.say(f"[green]✓[/] [bold]{one.view}[/] {one.commits} writes, {one.rows:,} rows, {one.stored:,} stored")
    store.close()
    console.finish(views=[vars(one) for one in done])


def compact(views: Views = None, home: Home = HOME, json: Json = False) -> None:
    """Make one file of the small ones that pushes leave in each day; the rows stay what they are."""
    store, console = FeatureStore(home / FOLDER), Console(json)
    done = {view.label: store.offline.compact(view) for view in _chosen(store, views)}
    files = {label: (len(one.dropped), len(one.added)) if one else (0, 0) for label, one in done.items()}
    for label, (before, after) in files.items():
        what = f"{before} files -> {after}" if before else "nothing to do"
        console.say(f"[green]✓[/] [bold]{label}[/] {what}")
    store.close()
    console.finish(views=[{"view": label, "before": b, "after": a} for label, (b, a) in files.items()])


def freshness(home: Home = HOME, json: Json = False) -> None:
    """How old the newest row of each view is, what waits for `recsys features materialize`, and what was refused."""
    store, console = FeatureStore(home / FOLDER), Console(json)
    found = store.freshness()
    table = Table(title=f"Feature views in {home}")
    for column in ("view", "rows", "newest", "age", "holds", "waiting", "refused batches"):
        table.add_column(column)
    for one in found:
        age = "" if one.age is None else str(one.age).split(".")[0]
        table.add_row(
            one.view,
            f"{one.rows:,}",
            "" if one.newest is None else one.newest.strftime("%Y-%m-%d %H:%M"),
            f"[red]{age} expired[/]" if one.expired else age,
            "for ever" if one.ttl is None else str(one.ttl),
            f"{one.waiting_rows:,} rows",
            str(one.quarantined),
        )
    console.say(table if found else f"No feature views in {home}.")
    store.close()
    console.finish(views=[vars(one) | {"expired": one.expired} for one in found])


def statistics(
    home: Home = HOME,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("feature-statistics.html"),
    json: Json = False,
) -> None:
    """Write a page with a histogram of every feature in the last batch of its view."""
    console = Console(json)
    out.write_text(FeatureStore(home / FOLDER).statistics_page())
    console.say(f"Histograms of all features: {out}")
    console.finish(path=str(out))


def _chosen(store: FeatureStore, labels: list[str] | None) -> list[Any]:
    return [store.registry.view(label) for label in labels] if labels else store.registry.views()


def _named(records: dict[str, dict[str, Any]], label: str) -> dict[str, Any]:
    for name, record in records.items():
        if name.split("/")[1] == label:
            return record
    known = ", ".join(name.split("/")[1] for name in records) or "nothing"
    raise DefinitionError(f"{label} is not registered ({known} is).", "Name one of these, or two registry folders.")
