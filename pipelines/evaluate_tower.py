"""Job: the report on one tower: what its vectors find, what they look like, and what else it can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pipelines.embed import embedding_tower
from pipelines.evaluate import dataset_summary
from pipelines.measure_abilities import Viewed, caption_table, matching_tables
from pipelines.measure_tower import (
    cross_modal_tables,
    geometry_table,
    label_table,
    partner_table,
    text_to_item_table,
    with_picture,
)
from pipelines.tower_evidence import Evaluated, Sizes, asked_texts, later_pairs
from pipelines.tower_sheet import caption_section, map_of, tower_sheet
from pipelines.train_tower import TowerConfig
from recsys.artifacts import Artifact, ArtifactStore, made_from, write_atomically
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.device import best_device
from recsys.embeddings.encode import open_tables
from recsys.evaluation.html import render_tower_html
from recsys.evaluation.tower_report import FigureTable, TowerReport
from recsys.towers.abilities import Captioning, Matching
from recsys.towers.tower import Tower

KIND, VERSION = "tower-reports", 3
RECORD, PAGE = "tower_report.json", "tower_report.html"

T = TypeVar("T")


class TowerEvaluationConfig(BaseConfig):
    """What is evaluated; the split and the items held out are those the tower was trained with."""

    name: str
    sizes: Sizes = Sizes()


def evaluate_tower(
    store: ArtifactStore, dataset: Artifact, tower: Artifact, embeddings: Artifact, config: TowerEvaluationConfig
) -> tuple[Artifact, bool]:
    """Measure a tower; ``<home>/tower-reports/tower_report.{json,html}`` are copies of the current report.

    Raises:
        ArtifactError: the tower was trained on another data set, or the vectors are another tower's.
    """
    made_from(tower, {"dataset": dataset}, "Run `recsys train-tower` first.")
    made_from(embeddings, {"dataset": dataset, "tower": tower}, "Run `recsys embed` first.")
    parents = {"dataset": dataset, "tower": tower, "embeddings": embeddings}

    def build(work: Path) -> dict[str, Any]:
        report = _report(work, parents, config)
        return {"title": report.title, "seconds": report.timings}

    artifact, built = store.build(KIND, VERSION, config, parents, build)
    for name in (RECORD, PAGE):
        write_atomically(store.home / KIND / name, (artifact.path / name).read_text())
    return artifact, built


def read_tower_report(path: Path) -> TowerReport:
    """The report in a directory that this job wrote."""
    return TowerReport.model_validate_json((path / RECORD).read_text())


class _Clock:
    """Runs the parts of an evaluation and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, part: str, work: Callable[..., T], *arguments: Any) -> T:
        started = time.perf_counter()
        result = work(*arguments)
        self.seconds[part] = time.perf_counter() - started
        return result


def _report(work: Path, parents: Mapping[str, Artifact], config: TowerEvaluationConfig) -> TowerReport:
    data = Dataset(parents["dataset"].path)
    trained = TowerConfig.model_validate(parents["tower"].manifest.config)
    tower = embedding_tower(parents["tower"], parents["embeddings"]).to(best_device())
    tables = open_tables(parents["embeddings"].path)
    sizes, clock = config.sizes, _Clock()
    evaluated = Evaluated.of(data, trained, sizes)
    asked = clock("encode texts", asked_texts, data, tower, evaluated, sizes)
    later = clock("mine pairs", later_pairs, data, trained, evaluated, sizes)
    found: list[FigureTable | None] = []
    found += clock("text and picture", cross_modal_tables, data, tables, evaluated, asked)
    found.append(clock("text and item", text_to_item_table, data, tables, evaluated, asked))
    if later is not None:
        found.append(clock("item and item", partner_table, tables, later))
    found.append(clock("labels", label_table, data, tower, tables, evaluated))
    found.append(clock("geometry", geometry_table, tables, evaluated, later, sizes))
    sheet = clock("contact sheet", tower_sheet, data, tables, evaluated, asked, later)
    pictured = with_picture(tables, evaluated.rows)
    if len(pictured) and {"match", "caption"} & tower.capabilities:
        viewed = clock("encode pictures", Viewed.of, data, tower, tables["image"].vectors, pictured, sizes)
        if "match" in tower.capabilities and isinstance(tower, Matching):
            found += clock("matching", matching_tables, tower, viewed, asked, sizes)
        if "caption" in tower.capabilities and isinstance(tower, Captioning):
            found.append(clock("captions", caption_table, tower, viewed, asked, sizes))
            sheet.append(clock("write captions", caption_section, data, tower, viewed, asked))
    catalogue_map = clock("map", map_of, data, tables)
    summary = dataset_summary(config.name, data)
    report = TowerReport(
        title=f"The {tower.family} tower of {config.name}",
        created_at=datetime.now(UTC),
        dataset=summary.model_copy(update={"counts": {name: n for name, n in summary.counts.items() if n}}),
        tower=_facts(tower, parents),
        protocol=evaluated.which,
        tables=tuple(table for table in found if table is not None),
        lineage={kind: artifact.key for kind, artifact in parents.items()},
        timings=clock.seconds,
        notes=_notes(evaluated, later is not None),
    )
    (work / RECORD).write_text(report.to_json())
    (work / PAGE).write_text(render_tower_html(report, sheet, catalogue_map))
    return report


def _facts(tower: Tower, parents: Mapping[str, Artifact]) -> dict[str, str]:
    trained, embedded = (parents[kind].manifest.metrics for kind in ("tower", "embeddings"))
    facts = {
        "family": tower.family,
        "width": str(tower.width),
        "parameters": f"{trained['parameters']:,}",
        "items per second": f"{embedded['items_per_second']:,.0f}",
        "trained": f"{parents['tower'].manifest.seconds:,.0f} s",
    }
    if tower.capabilities:
        facts["can"] = ", ".join(sorted(tower.capabilities)).replace("_", "-")
    return facts


def _notes(evaluated: Evaluated, with_behaviour: bool) -> tuple[str, ...]:
    notes = [
        "text-only, image-only and both are read-outs of one tower; the first two see one modality of each item.",
        f"The tower could learn from {len(evaluated.learned):,} items.",
    ]
    if with_behaviour:
        notes.append(
            "Partners are mined as the tower's pairs were, from the events after its training window; under "
            "leave-last-out these are each user's last engagements."
        )
    return tuple(notes)
