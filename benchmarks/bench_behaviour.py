"""What behaviour teaches a tower: the same tower trained on item pairs from behaviour, and on picture and text alone.

MovieLens-1M with plots and frozen poster vectors; leave-last-out. An item is asked for what people engage with after it
in the time that was held out, by text alone, picture alone and both. *Cold* partners occur in no interaction that the
tower learned from. The peer is the image-text tower; chance stands beside.

    python benchmarks/bench_behaviour.py --data ../shared/data/ml1m-multimodal
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipelines.config import CONFIGS
from pipelines.dataset import make_dataset
from pipelines.embed import EmbedConfig, embed
from pipelines.evaluate_tower import evaluate_tower, read_tower_report
from pipelines.run_config import load_run_config
from pipelines.runtime import InlineRuntime
from pipelines.train_tower import train_tower
from recsys.artifacts import ArtifactStore

CONFIG = CONFIGS / "ml1m-features.toml"
TOWERS: dict[str, dict[str, Any]] = {
    "behaviour": {},
    "picture and text alone": {"trainer": {"contrast": {"behaviour": {}, "views": {"image-text": 1.0}}}},
}
RESULTS = Path(__file__).parent / "results" / "behaviour.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ml1m-multimodal"))
    parser.add_argument("--home", type=Path, help="where towers are kept; default: a temporary folder")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} is not there; name the folder with --data")
        return
    tables = {}
    with tempfile.TemporaryDirectory() as scratch:
        store = ArtifactStore(arguments.home or Path(scratch))
        for name, overrides in TOWERS.items():
            config = load_run_config(CONFIG, {"dataset": {"folder": str(arguments.data)}, **overrides})
            assert config.dataset is not None
            dataset, _ = make_dataset(store, config.dataset)
            tower, _ = train_tower(store, dataset, config.tower_config(), InlineRuntime())
            embeddings, _ = embed(store, dataset, tower, InlineRuntime(), EmbedConfig())
            reports, _ = evaluate_tower(store, dataset, tower, embeddings, config.tower_evaluation_config())
            report = read_tower_report(reports.path)
            tables[name] = next(table for table in report.tables if table.title == "Item → item")
            show(name, tables[name])
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    found = {name: table.model_dump(mode="json") for name, table in tables.items()}
    RESULTS.write_text(
        json.dumps(
            {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "towers": found}, indent=2
        )
    )


def show(tower: str, table: Any) -> None:
    for row in table.rows:
        figures = "  ".join(
            f"{key} {of.value:.4f} [{of.low:.4f}, {of.high:.4f}] chance {row.chance[key]:.4f}"
            for key, of in row.figures.items()
        )
        print(f"{tower:24} {row.part:12} {row.name:12} n {row.n:5}  {figures}")
    for difference in table.differences:
        print(f"{tower:24} {difference}")


if __name__ == "__main__":
    main()
