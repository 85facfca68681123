"""The command line: ``recsys quickstart``, the stages one by one, and questions asked of what they made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from feature_store.exceptions import FeatureStoreError
from pipelines.answers import open_engine, read_picture, show_slate
from pipelines.build_index import told
from pipelines.config import DEFAULT, WORLD, validated
from pipelines.console import Console
from pipelines.dataset import DatasetConfig, ingested_table, make_dataset
from pipelines.explain import show_explanation
from pipelines.feature_commands import compact, diff, features, freshness, list_features, materialize, statistics
from pipelines.index_commands import gc, list_generations, rollback
from pipelines.index_plan import gigabytes, show_plan
from pipelines.quickstart import show_report, show_tower_report, tour
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.runtime import RuntimeConfig
from pipelines.status import show_status
from pipelines.train_ranker import CONTRIBUTIONS
from recsys.artifacts import ArtifactStore
from recsys.exceptions import RecsysError
from recsys.index.generation import IndexConfig
from recsys.index.plan import plan
from recsys.retrieval.filters import Filter, parse_filter
from recsys.types import ItemId, UserId

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multimodal search and recommendation: from notes with pictures and text to ranked answers.",
)

index_app = typer.Typer(invoke_without_command=True)
app.add_typer(index_app, name="index")
features_app = typer.Typer(invoke_without_command=True)
app.add_typer(features_app, name="features")

Home = Annotated[Path, typer.Option(help="Home folder: everything made is kept here.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Config = Annotated[Path, typer.Option(help="TOML file that describes the run.")]
RuntimeKind = Annotated[Literal["inline", "ray"], typer.Option("--runtime", help="Where jobs run.")]
RayAddress = Annotated[str | None, typer.Option(help="A running Ray cluster to use; implies --runtime ray.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="How many items.")]
Where = Annotated[str | None, typer.Option(help="What the notes must satisfy, such as 'language in (zh, en)'.")]
HOME = Path("artifacts")


@app.command()
def quickstart(home: Home = HOME, runtime: RuntimeKind = "ray", json: Json = False) -> None:
    """Everything on a generated world: notes, tower, index, ranker, report, and three questions asked of it."""
    console = Console(json)
    run = Run(home, load_run_config(WORLD), console, RuntimeConfig(kind=runtime))
    show_report(run.everything(), home, console)
    console.finish(**tour(run.store, console))


@app.command()
def run(
    config: Config,
    home: Home = HOME,
    data: Annotated[Path | None, typer.Option(help="Folder of raw data, instead of the one in the config.")] = None,
    runtime: RuntimeKind = "inline",
    ray_address: RayAddress = None,
    json: Json = False,
) -> None:
    """All stages for the data set that a config file describes."""
    console = Console(json)
    settings = load_run_config(config, {"dataset": {"folder": str(data)}} if data else {})
    run = Run(home, settings, console, _runtime(runtime, ray_address))
    show_report(run.everything(), home, console)
    console.finish()


@app.command()
def ingest(
    data: Annotated[Path, typer.Argument(help="Folder of raw data.")],
    mapping: Annotated[Path | None, typer.Option(help="TOML file: their columns -> ours.")] = None,
    layout: Annotated[
        str | None, typer.Option("--format", help="A public layout, such as ml-1m; default: found out.")
    ] = None,
    home: Home = HOME,
    json: Json = False,
) -> None:
    """Read raw data into the house's tables; what cannot be used is kept aside with the reason."""
    console = Console(json)
    source = validated(DatasetConfig, {"folder": data, "mapping": mapping, "format": layout}, "ingest")
    artifact = console.stage("dataset", lambda: make_dataset(ArtifactStore(home), source))
    console.say(ingested_table(artifact.manifest.metrics))
    console.say(f"Rejected rows, with reasons: {artifact.path / 'rejected.parquet'}\nNext: [bold]recsys train-tower[/]")
    console.finish(**artifact.manifest.metrics)


@app.command("train-tower")
def train_tower(
    home: Home = HOME,
    config: Config = DEFAULT,
    family: Annotated[str | None, typer.Option(help="Tower family, such as clip; docs/guides/towers.md.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint of a whole tower in the hub's format.")] = None,
    text_model: Annotated[Path | None, typer.Option(help="Checkpoint of the text side in the hub's format.")] = None,
    image_model: Annotated[Path | None, typer.Option(help="Checkpoint of the image side in the hub's format.")] = None,
    captions: Annotated[Path | None, typer.Option(help="Captions that `recsys capfilt` wrote, to learn from.")] = None,
    start: Annotated[Path | None, typer.Option(help="A saved tower of the family to go on from.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers that share each batch, with --runtime ray.")
    ] = None,
    runtime: RuntimeKind = "inline",
    ray_address: RayAddress = None,
    json: Json = False,
) -> None:
    """Train the item tower on the current data set."""
    chosen: dict[str, Any] = {"trainer": {"steps": steps} if steps else {}, "tower": {}}
    for part, folder in (("text", text_model), ("image", image_model)):
        if folder is not None:
            chosen["tower"][part] = {"checkpoint": str(folder.resolve())}
    if family is not None:
        chosen["tower"]["family"] = family
    if checkpoint is not None:
        chosen["tower"]["checkpoint"] = str(checkpoint.resolve())
    for key, folder in (("start", start), ("written", captions)):
        if folder is not None:
            chosen[key] = str(folder.resolve())
    console = Console(json)
    where = _runtime(runtime, ray_address).model_copy(update={"workers": workers})
    run = Run(home, load_run_config(config, chosen), console, where)
    artifact = run.tower(run.store.current("dataset"))
    kept = artifact.manifest.metrics["kept"]
    console.say(f"Recall@10 on items never trained on: {kept['recall']:.3f} at step {kept['step']:.0f}")
    console.say("Next: [bold]recsys embed[/]")
    console.finish(kept=kept)


@app.command()
def embed(
    home: Home = HOME,
    width: Annotated[int | None, typer.Option(min=1, help="Of the vectors, one the tower was trained for.")] = None,
    runtime: RuntimeKind = "inline",
    ray_address: RayAddress = None,
    json: Json = False,
) -> None:
    """Encode every item with the current tower."""
    console = Console(json)
    run = Run(home, load_run_config(DEFAULT, {"width": width}), console, _runtime(runtime, ray_address))
    artifact = run.embeddings(run.store.current("dataset"), run.store.current("tower"))
    console.say("Next: [bold]recsys evaluate-tower[/], or [bold]recsys index[/]")
    console.finish(**artifact.manifest.metrics)


@app.command()
def capfilt(
    home: Home = HOME,
    config: Config = DEFAULT,
    runtime: RuntimeKind = "inline",
    ray_address: RayAddress = None,
    json: Json = False,
) -> None:
    """Write captions for items with poor text by the current tower, and keep those that fit their picture."""
    console = Console(json)
    run = Run(home, load_run_config(config), console, _runtime(runtime, ray_address))
    artifact = run.captions(run.store.current("dataset"), run.store.current("tower"))
    metrics = artifact.manifest.metrics
    console.say(f"{metrics['poor']:,} items with poor text, {metrics['kept']:,} captions kept: {artifact.path}")
    console.say(f"Next: [bold]recsys train-tower --captions {artifact.path}[/]")
    console.finish(**metrics)


@app.command("evaluate-tower")
def evaluate_tower(home: Home = HOME, config: Config = DEFAULT, json: Json = False) -> None:
    """Measure what the current tower's vectors find and what else it can do, and write the report."""
    console = Console(json)
    run = Run(home, load_run_config(config), console)
    current = {kind: run.store.current(kind) for kind in ("dataset", "tower", "embeddings")}
    show_tower_report(run.tower_reports(**current), home, console)
    console.finish()


@index_app.callback()
def index(
    context: typer.Context,
    home: Home = HOME,
    config: Config = DEFAULT,
    recall_target: Annotated[float | None, typer.Option(help="Of the k nearest: search is tuned to it.")] = None,
    k: Annotated[int | None, typer.Option("--k", "-k", min=1, help="Neighbours that the target speaks of.")] = None,
    memory: Annotated[str | None, typer.Option(help="That the index may use, such as 16GB.")] = None,
    json: Json = False,
) -> None:
    """Build an index generation over the current vectors, tune its search and measure it against exact search."""
    if context.invoked_subcommand is not None:
        return
    console = Console(json)
    asked = {"recall_target": recall_target, "k": k, "memory_gb": None if memory is None else gigabytes(memory)}
    chosen = {"index": {name: value for name, value in asked.items() if value is not None}}
    run = Run(home, load_run_config(config, chosen), console)
    artifact = run.index(run.store.current("embeddings"))
    current = {kind: run.store.current(kind) for kind in ("dataset", "tower", "embeddings")}
    run.hybrid(**current, lexical=run.lexical(current["dataset"]))
    console.say(told(artifact))
    console.say("Next: [bold]recsys train-ranker[/], or [bold]recsys search TEXT[/]")
    console.finish(**artifact.manifest.metrics)


@index_app.command("plan")
def index_plan(
    items: Annotated[float, typer.Option(help="Number of vectors, such as 1e9.")],
    width: Annotated[int, typer.Option(help="Of a vector.")],
    memory: Annotated[str, typer.Option(help="Of one machine, such as 64GB.")],
    recall_target: Annotated[float, typer.Option(help="That search would be tuned to.")] = IndexConfig().recall_target,
    json: Json = False,
) -> None:
    """Work out kind, shards, memory, recall and build time of an index that is not built yet, and show how."""
    console = Console(json)
    show_plan(plan(int(items), width, gigabytes(memory), recall_target, IndexConfig().exact_below), console)


index_app.command("list")(list_generations)
index_app.command("rollback")(rollback)
index_app.command("gc")(gc)

features_app.callback()(features)
features_app.command("list")(list_features)
features_app.command("diff")(diff)
features_app.command("materialize")(materialize)
features_app.command("compact")(compact)
features_app.command("freshness")(freshness)
features_app.command("statistics")(statistics)


@app.command("train-user-tower")
def train_user_tower(
    home: Home = HOME,
    config: Config = DEFAULT,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    json: Json = False,
) -> None:
    """Train the user tower: what a user did last, as a vector among those of items."""
    console = Console(json)
    run = Run(home, load_run_config(config, {"user_trainer": {"steps": steps} if steps else {}}), console)
    artifact = run.user_tower(run.store.current("dataset"), run.store.current("embeddings"))
    kept = artifact.manifest.metrics["kept"]
    console.say(f"Hits@10 on the last engagement of held-out users: {kept['recall']:.3f} at step {kept['step']:.0f}")
    console.say("Next: [bold]recsys train-ranker --user-tower[/]")
    console.finish(kept=kept)


@app.command("train-ranker")
def train_ranker(
    home: Home = HOME,
    config: Config = DEFAULT,
    user_tower: Annotated[bool, typer.Option("--user-tower", help="Hear the current user tower too.")] = False,
    json: Json = False,
) -> None:
    """Train the ranker on the logged impressions, or on retrieved negatives where there are none."""
    console = Console(json)
    run = Run(home, load_run_config(config), console)
    heard = run.store.current("user-tower") if user_tower else None
    artifact = run.ranker(run.store.current("dataset"), run.store.current("embeddings"), heard)
    console.say(f"What each feature adds to the scores: {artifact.path / CONTRIBUTIONS}")
    console.say("Next: [bold]recsys evaluate[/], or [bold]recsys recommend USER[/]")
    console.finish(**artifact.manifest.metrics)


@app.command()
def evaluate(home: Home = HOME, config: Config = DEFAULT, json: Json = False) -> None:
    """Measure retrieval and ranking on what was held out, and write the report."""
    console = Console(json)
    run = Run(home, load_run_config(config), console)
    current = {kind: run.store.current(kind) for kind in ("dataset", "tower", "embeddings", "ranker")}
    show_report(run.reports(**current), home, console)
    console.finish()


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to look for, alone or with the text.")] = None,
    where: Where = None,
    rerank: Annotated[bool, typer.Option(help="Let the tower look at the first results again.")] = False,
    k: Count = 10,
    home: Home = HOME,
    json: Json = False,
) -> None:
    """Notes that fit a text, look like a picture, or both."""
    picture = read_picture(image) if image else None
    slate = open_engine(ArtifactStore(home)).search(text, picture, k, rerank, _filter(where))
    show_slate(slate, " + ".join(str(part) for part in (text, image) if part is not None), Console(json))


@app.command()
def recommend(
    user: Annotated[str, typer.Argument(help="User id.")], k: Count = 10, home: Home = HOME, json: Json = False
) -> None:
    """A feed for one user: retrieved, ranked, made diverse."""
    show_slate(open_engine(ArtifactStore(home)).feed(UserId(user), k), f"feed of {user}", Console(json))


@app.command()
def similar(
    item: Annotated[str, typer.Argument(help="Item id.")],
    where: Where = None,
    k: Count = 10,
    home: Home = HOME,
    json: Json = False,
) -> None:
    """Notes related to one note."""
    slate = open_engine(ArtifactStore(home)).related(ItemId(item), k, _filter(where))
    show_slate(slate, f"related to {item}", Console(json))


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="User id.")],
    item: Annotated[str, typer.Option(help="Item id.")],
    html: Annotated[Path | None, typer.Option(help="Page to write, with the pictures.")] = None,
    k: Count = 10,
    home: Home = HOME,
    json: Json = False,
) -> None:
    """Why a note is, or is not, in a user's feed: who found it, by which neighbours, and where it was lost."""
    show_explanation(open_engine(ArtifactStore(home)), UserId(user), ItemId(item), k, html, Console(json))


@app.command()
def status(home: Home = HOME, json: Json = False) -> None:
    """What stands in the home folder, and what each part was made from."""
    show_status(ArtifactStore(home), Console(json))


def _filter(where: str | None) -> Filter | None:
    return parse_filter(where) if where is not None else None


def _runtime(kind: Literal["inline", "ray"], ray_address: str | None) -> RuntimeConfig:
    return RuntimeConfig(kind="ray" if ray_address else kind, address=ray_address)


def main() -> None:
    """Run the command line; a mistake of the user's ends with code 2 and a sentence, not with a traceback."""
    try:
        app()
    except (RecsysError, FeatureStoreError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n" if error.filename else f"error: {error}\n")
        sys.exit(2)
