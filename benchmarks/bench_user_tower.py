"""What candidate sources find for users of MovieLens-1M: counting, closed forms, the user tower, and fusions of them.

Leave-last-out, all items the user has not engaged with compete, every source learns from all but the last engagement;
content is that of the clip tower of ml1m-features.toml. *New items*: a twentieth of the items, drawn at random, loses
all its interactions; users whose last engagement is one of these are asked for it, by a tower with content and by one
that knows items by their own vectors alone. Content is there that of a tower taught by pictures and texts only, which
no interaction of a new item has reached. Measured elsewhere on this split: recency item-kNN .185 / .106, EASE asked by
recency .226 / .128 (HR@10 / NDCG@10).

    python benchmarks/bench_user_tower.py --data ../shared/data/ml1m-multimodal
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.config import CONFIGS
from pipelines.dataset import make_dataset
from pipelines.embed import EmbedConfig, embed
from pipelines.run_config import load_run_config
from pipelines.runtime import InlineRuntime
from pipelines.train_tower import train_tower
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import SplitConfig, split_events
from recsys.embeddings.encode import open_tables
from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.retrieval.ease import EaseConfig, EaseSource
from recsys.retrieval.fusion import reciprocal_rank_fusion
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource
from recsys.retrieval.next_item import NextItemConfig, NextItemSource
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.training.user_trainer import UserTrainerConfig, train_user_tower
from recsys.types import Candidates, Histories, RowArray

DEPTH = 200
NEW_SHARE = 0.05
WITHOUT_BEHAVIOUR: dict[str, Any] = {"trainer": {"contrast": {"behaviour": {}, "views": {"image-text": 1.0}}}}
RESULTS = Path(__file__).parent / "results" / "user_tower.json"


def vectors_of(store: ArtifactStore, dataset: Artifact, overrides: dict[str, Any]) -> EmbeddingTable:
    """Fused vectors of the catalogue by a tower of ml1m-features.toml."""
    config = load_run_config(CONFIGS / "ml1m-features.toml", overrides)
    tower, _ = train_tower(store, dataset, config.tower_config(), InlineRuntime())
    embeddings, _ = embed(store, dataset, tower, InlineRuntime(), EmbedConfig())
    return open_tables(embeddings.path)["fused"]


def user_tower(
    content: EmbeddingTable, learned: Interactions, config: UserTowerConfig, steps: int, name: str
) -> tuple[UserTowerSource, float]:
    """A trained tower as a source, and the seconds of CPU it took."""
    torch.manual_seed(0)
    trained = content.ids.of_rows(np.flatnonzero(learned.item_counts()))
    tower = UserTower(content.width, trained, config, content.fingerprint)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as work:
        train_user_tower(tower, content, learned, UserTrainerConfig(steps=steps), Path(work))
    items = EmbeddingTable(content.ids, tower.item_vectors(content), "user tower")
    return UserTowerSource(tower, items, ExactIndex(items), name), time.process_time() - started


def figures(found: Candidates, targets: RowArray) -> dict[str, float]:
    """Hit rates, and NDCG@10 of one target a user."""
    hit = found.rows == targets[:, None]
    place = np.where(hit.any(axis=1), hit.argmax(axis=1), DEPTH)
    gain = np.where(place < 10, 1 / np.log2(place + 2), 0)
    return {"hr@10": float((place < 10).mean()), "ndcg@10": float(gain.mean()), "hr@50": float((place < 50).mean())}


def show(name: str, found: dict[str, float], seconds: float | None = None) -> None:
    said = "  ".join(f"{metric} {value:.4f}" for metric, value in found.items())
    print(f"{name:42} {said}" + (f"   {seconds:.0f} s of CPU" if seconds is not None else ""))


def asked(learned: Interactions, test: Interactions, keep: npt.NDArray[np.bool_]) -> tuple[Histories, RowArray]:
    """Histories of the users of some test engagements, and what they are to be given."""
    return learned.histories().take(test.users[keep].astype(np.int64)), test.items[keep]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ml1m-multimodal"))
    parser.add_argument("--home", type=Path, help="where the content tower is kept; default: a temporary folder")
    parser.add_argument("--steps", type=int, default=3000, help="of each user tower")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} is not there; name the folder with --data")
        return
    with tempfile.TemporaryDirectory() as scratch:
        store = ArtifactStore(arguments.home or Path(scratch))
        source = {"dataset": {"folder": str(arguments.data)}}
        config = load_run_config(CONFIGS / "ml1m-features.toml", source).dataset
        assert config is not None
        dataset, _ = make_dataset(store, config)
        data = Dataset(dataset.path)
        content, unmet = (vectors_of(store, dataset, {**source, **taught}) for taught in ({}, WITHOUT_BEHAVIOUR))
        split = split_events(data.events, SplitConfig())
        before = Interactions.of(split.before_test, data.ids)
        test = Interactions.of(split.test, data.ids, before.users_map)
        found = {"all items": known_items(content, before, test, arguments.steps)}
        found["new items"] = new_items(unmet, before, test, arguments.steps)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "steps": arguments.steps}
    RESULTS.write_text(json.dumps({**made, "found": found}, indent=2))


def known_items(
    content: EmbeddingTable, before: Interactions, test: Interactions, steps: int
) -> dict[str, dict[str, float]]:
    """Every source alone, and fusions."""
    histories, targets = asked(before, test, np.ones(len(test), np.bool_))
    trained, seconds = user_tower(content, before, UserTowerConfig(), steps, "user tower")
    sources = [
        ItemToItemSource(before, ItemToItemConfig(similarity="cosine", last=5, decay=0.7), "item-kNN"),
        ItemToItemSource(before, ItemToItemConfig(), "transition"),
        EaseSource(before, EaseConfig()),
        NextItemSource(before, NextItemConfig()),
        trained,
    ]
    lists = {source.name: source.retrieve(histories, DEPTH) for source in sources}
    for names in (("user tower", "next-item"), ("user tower", "next-item", "transition"), tuple(lists)):
        lists[" + ".join(names)] = reciprocal_rank_fusion([lists[name] for name in names], DEPTH)
    found = {}
    for name, candidates in lists.items():
        found[name] = figures(candidates, targets)
        show(name, found[name], seconds if name == "user tower" else None)
    return found


def new_items(
    content: EmbeddingTable, before: Interactions, test: Interactions, steps: int
) -> dict[str, dict[str, float]]:
    """The same users' towers with and without content, asked for items that nobody had engaged with."""
    n_items = len(content.ids)
    new = np.random.default_rng(0).random(n_items) < NEW_SHARE
    learned = before.where(~new[before.items])
    histories, targets = asked(learned, test, new[test.items])
    nothing = EmbeddingTable(content.ids, np.zeros_like(content.vectors), content.fingerprint)
    found = {"chance": {"hr@50": 50 / n_items}}
    for name, vectors in (("with content", content), ("item vectors alone", nothing)):
        source, seconds = user_tower(vectors, learned, UserTowerConfig(), steps, name)
        found[name] = figures(source.retrieve(histories, DEPTH), targets)
        show(f"{len(targets)} users, new items, {name}", found[name], seconds)
    return found


if __name__ == "__main__":
    main()
