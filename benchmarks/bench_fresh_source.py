"""What the fresh source does to the merged list of a feed: recall on all items and on new ones, with and without it.

The world's cascade as `pipelines/configs/world.toml` has it, first without the fresh source, then with it at several
weights, then merged by quotas. Recall@50 is that of a feed that is not ranked, recall@400 what a ranker chooses from.
*New items* had no engagement before the period. Two periods: *label*, which settings may be chosen by (sources have
learned from what came before it), and *test*. Differences are paired by user, with 95% bootstrap intervals.

    recsys run --config pipelines/configs/world.toml --home artifacts
    python benchmarks/bench_fresh_source.py --home artifacts
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from pipelines.config import WORLD
from pipelines.measure import HeldOut
from pipelines.run_config import load_run_config
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import Split, SplitConfig, split_events
from recsys.embeddings.encode import open_tables
from recsys.evaluation.intervals import Estimate, mean_interval, paired_difference
from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import cut_off, measure
from recsys.ranking.retrieved import RetrievalConfig, merge
from recsys.retrieval.fresh import FRESH
from recsys.serving.cascade import Cascade, CascadeConfig
from recsys.types import Candidates

METRICS = ("recall@50", "recall@400")
WEIGHTS = (0.3, 0.5, 1.0, 2.0)
QUOTAS = {"both": 160, "next-item": 80, "transition": 60, "item-knn": 40, "popularity": 20, FRESH: 40}
RESULTS = Path(__file__).parent / "results" / "fresh_source.json"

Values = Mapping[str, npt.NDArray[np.float64]]
Figures = dict[str, dict[str, dict[str, dict[str, dict[str, float]]]]]
"""By metric, merger, part of the catalogue, recall or difference, and value, low or high."""


def label_period(split: Split) -> Split:
    """The split whose test is what teaches the ranker."""
    return replace(split, label=split.fit.clear(), test=split.label, test_from=split.label_from)


def mergers(settings: RetrievalConfig, lists: list[Candidates]) -> dict[str, Candidates]:
    """The merged list without the fresh source, with it by reciprocal ranks at each weight, and by quotas."""
    others = [candidates for candidates in lists if candidates.source != FRESH]
    weights = {name: weight for name, weight in settings.weights.items() if name != FRESH}
    plain = settings.model_copy(update={"weights": weights})
    found: dict[str, Candidates] = {"without": merge(others, plain, settings.candidates)}
    for weight in WEIGHTS:
        weighed = settings.model_copy(update={"weights": weights | {FRESH: weight}})
        found[f"fresh, weight {weight:g}"] = merge(lists, weighed, settings.candidates)
    shared = {name: places for name, places in QUOTAS.items() if name != FRESH}
    without = settings.model_copy(update={"quotas": shared})
    found["without, by quotas"] = merge(others, without, settings.candidates)
    found[f"fresh, {QUOTAS[FRESH]} places of {settings.candidates}"] = merge(
        lists, settings.model_copy(update={"quotas": QUOTAS}), settings.candidates
    )
    return found


def recalls(found: Candidates, parts: Mapping[str, Judgements]) -> Mapping[str, Values]:
    """By part of the catalogue and metric."""
    depth = max(cut_off(metric) for metric in METRICS)
    return {name: measure(judge(found.rows, part, depth), METRICS) for name, part in parts.items()}


def measured(data: Dataset, split: Split, home: Path, config: CascadeConfig) -> Figures:
    """Recall, and the difference from the merger without the fresh source."""
    before = Interactions.of(split.before_test, data.ids)
    tables = open_tables(ArtifactStore(home).current("embeddings").path)
    cascade = Cascade.fit(data, split.before_test, split.before_test, before.users_map, tables, config, logged=True)
    held_out = HeldOut.of(data, split, before, logged=True)
    settings = cascade.retrieval
    lists = [source.retrieve(held_out.histories, settings.per_source) for source in cascade.asked.values()]
    parts = {"all items": held_out.judgements, "new items": held_out.judgements.within(before.item_counts() == 0)}
    values = {name: recalls(found, parts) for name, found in mergers(settings, lists).items()}
    return {
        metric: {
            name: {
                part: {
                    "recall": _dumped(mean_interval(of_part[metric], 0)),
                    "difference": _dumped(paired_difference(of_part[metric], values["without"][part][metric], 0)),
                }
                for part, of_part in of_merger.items()
            }
            for name, of_merger in values.items()
        }
        for metric in METRICS
    }


def _dumped(estimate: Estimate | None) -> dict[str, float]:
    assert estimate is not None
    return estimate.model_dump()


def show(title: str, found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> None:
    table = Table(title=title)
    for column in ("merged", "all items", "difference", "new items", "difference"):
        table.add_column(column, justify="left" if column == "merged" else "right")
    for name, parts in found.items():
        cells = []
        for part in parts.values():
            recall, difference = part["recall"], part["difference"]
            between = f"[{difference['low']:+.3f}, {difference['high']:+.3f}]"
            cells += [f"{recall['value']:.3f}", f"{difference['value']:+.3f} {between}".replace("[", "\\[")]
        table.add_row(name, *cells)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("artifacts"), help="where the world was run")
    home = parser.parse_args().home
    dataset = ArtifactStore(home).current("dataset")
    data, config = Dataset(dataset.path), load_run_config(WORLD).cascade
    split = split_events(data.events, SplitConfig())
    found = {
        name: measured(data, part, home, config) for name, part in (("label", label_period(split)), ("test", split))
    }
    seed = dataset.manifest.config["world"]["seed"]
    for period, figures in found.items():
        for metric, of_metric in figures.items():
            users = of_metric["without"]["all items"]["recall"]["n"]
            show(f"World of seed {seed}, {period} period, {users} users: {metric}", of_metric)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "found": found}
    RESULTS.write_text(json.dumps(results | {f"seed {seed}": made}, indent=2) + "\n")


if __name__ == "__main__":
    main()
