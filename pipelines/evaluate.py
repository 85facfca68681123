"""Job: the report on what was held out, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.contact_sheet import contact_sheet
from pipelines.embed import embedding_tower
from pipelines.measure import Feeds, HeldOut, feed_table, order_table, protocol, query_table, slate_tables
from pipelines.train_ranker import learns_from_impressions, user_tower_of
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore, made_from, write_atomically
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import SplitConfig, split_events
from recsys.data.world import Truth
from recsys.embeddings.encode import open_tables
from recsys.evaluation.html import render_html
from recsys.evaluation.report import Curve, DatasetSummary, EvaluationReport
from recsys.ranking.lightgbm_ranker import LightGBMRanker
from recsys.serving.cascade import Cascade, CascadeConfig, is_logged

KIND, VERSION = "reports", 2
FILES = ("evaluation.json", "evaluation.html")


class EvaluationConfig(BaseConfig):
    """What is evaluated, and under which split."""

    name: str
    cascade: CascadeConfig = CascadeConfig()
    split: SplitConfig = SplitConfig()


def evaluate(
    store: ArtifactStore,
    dataset: Artifact,
    tower: Artifact,
    embeddings: Artifact,
    ranker: Artifact,
    config: EvaluationConfig,
) -> tuple[Artifact, bool]:
    """Measure retrieval and ranking; ``<home>/reports/evaluation.{json,html}`` are copies of the current report."""
    parents = {"dataset": dataset, "tower": tower, "embeddings": embeddings, "ranker": ranker}
    made_from(embeddings, {"dataset": dataset, "tower": tower}, "Run `recsys embed` first.")
    made_from(ranker, {"dataset": dataset, "embeddings": embeddings}, "Run `recsys train-ranker` first.")
    user_tower = user_tower_of(store, ranker)

    def build(work: Path) -> dict[str, Any]:
        report = _report(work, parents, config, user_tower.path if user_tower is not None else None)
        return {"title": report.title}

    artifact, built = store.build(KIND, VERSION, config, parents, build)
    for name in FILES:
        write_atomically(store.home / KIND / name, (artifact.path / name).read_text())
    return artifact, built


def _report(
    work: Path, parents: Mapping[str, Artifact], config: EvaluationConfig, user_tower: Path | None
) -> EvaluationReport:
    data = Dataset(parents["dataset"].path)
    split = split_events(data.events, config.split)
    before = Interactions.of(split.before_test, data.ids)
    tables = open_tables(parents["embeddings"].path)
    logged = learns_from_impressions(parents["ranker"])
    settings = (before.users_map, tables, config.cascade, logged)
    cascade = Cascade.fit(data, split.before_test, split.before_test, *settings, user_tower=user_tower)
    ranker = LightGBMRanker.load(parents["ranker"].path, cascade.assembler.names)
    tower = embedding_tower(parents["tower"], parents["embeddings"])
    truth = Truth.open(data.path) if Truth.exists(data.path) else None
    held_out = HeldOut.of(data, split, before, logged)
    feeds = Feeds.answer(held_out, before, cascade, ranker)
    queries = query_table(data, tower, tables, before)
    ranking = [order_table(held_out, feeds)]
    if logged and is_logged(split.test):
        counting = Cascade.fit(data, split.before_test, data.events, *settings, user_tower=user_tower)
        ranking += slate_tables(data, split, counting, ranker, before.users_map, truth)
    history = parents["tower"].manifest.metrics["history"]
    report = EvaluationReport(
        title=f"Evaluation of {config.name}",
        created_at=datetime.now(UTC),
        dataset=dataset_summary(config.name, data),
        protocol=protocol(split),
        retrieval=(feed_table(data, held_out, before, feeds, truth), *([queries] if queries else [])),
        ranking=tuple(ranking),
        importance=parents["ranker"].manifest.metrics["importance"],
        curves=_curves(history),
        lineage={kind: artifact.key for kind, artifact in parents.items()},
        timings={kind: artifact.manifest.seconds for kind, artifact in parents.items()},
        notes=_notes(held_out, ranker),
    )
    sheet = contact_sheet(data, tower, tables, cascade, held_out, feeds.lists["ranked"])
    (work / "evaluation.json").write_text(report.to_json())
    (work / "evaluation.html").write_text(render_html(report, sheet))
    return report


def dataset_summary(name: str, data: Dataset) -> DatasetSummary:
    """What a report says of its data set."""
    kinds = data.events[schemas.EVENT_TYPE].value_counts(sort=True)
    counts = {
        "items": len(data.items),
        "with a picture": int((data.items["n_images"] > 0).sum()),
        "users": data.events[schemas.USER_ID].n_unique(),
        "events": len(data.events),
        **{f"{kind}s" if kind != "dwell" else kind: count for kind, count in kinds.head(3).iter_rows()},
        "rejected rows": len(data.rejected),
    }
    world = "A generated world, whose truth is known." if Truth.exists(data.path) else "Ingested from files."
    return DatasetSummary(name=name, description=world, counts=counts)


def _curves(history: list[dict[str, float]]) -> tuple[Curve, ...]:
    def series(*names: str) -> dict[str, tuple[tuple[float, float], ...]]:
        return {
            name.replace("_", " "): tuple((record["step"], record[name]) for record in history)
            for name in names
            if name in history[0]
        }

    return (
        Curve(title="Tower: training loss", x_label="step", y_label="loss", series=series("loss")),
        Curve(
            title="Tower: recall@10 on items never trained on",
            x_label="step",
            y_label="recall@10",
            series=series("match_recall", "pair_recall"),
        ),
    )


def _notes(held_out: HeldOut, ranker: LightGBMRanker) -> tuple[str, ...]:
    negatives = {
        "impressions": "The ranker's negatives are logged impressions that were not clicked.",
        "retrieved": "There are no impressions: the ranker's negatives are sampled from what the sources retrieved.",
    }
    return (
        negatives[ranker.negatives],
        "text-only, image-only and both are read-outs of one tower; the first two see one modality of each item.",
        f"{held_out.strangers:,} users of the test had done nothing before it and are left out.",
    )


def read_report(path: Path) -> EvaluationReport:
    """The report in a directory that this job wrote."""
    return EvaluationReport.model_validate_json((path / "evaluation.json").read_text())
