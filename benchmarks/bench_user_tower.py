"""What is found for users of MovieLens-1M and Amazon Beauty: counting, closed forms, SASRec, the user tower, fusions.

Leave-last-out, all items the user has not engaged with compete, every source learns from all but the last engagement.

- ``movielens``: content is that of the clip tower of ml1m-features.toml. Measured elsewhere on this split: recency
  item-kNN .185 / .106, EASE asked by recency .226 / .128 (HR@10 / NDCG@10).
- ``new``: a twentieth of MovieLens' items, drawn at random, loses all its interactions, for the content tower too;
  users whose last engagement is one of these are asked for it, among all items and among the new ones. Without content
  a new item has no vector, and is not found.
- ``beauty``: no content, the user tower knows items by vectors of their own. EASE and next-item would invert a matrix
  of 54,542 x 54,542 and are left out.

SASRec is that of RecTools, in an interpreter of its own: ``pip install "rectools[torch]"`` there, and name it.

    python benchmarks/bench_user_tower.py --data ../shared/data --sasrec rectools/bin/python
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from user_tower_data import NEW_SHARE, MovieLens, Task, beauty, without_events

from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.evaluation.intervals import Estimate, mean_intervals
from recsys.index.exact import ExactIndex
from recsys.retrieval.base import CandidateSource
from recsys.retrieval.dense import DenseConfig, DenseSource
from recsys.retrieval.ease import EaseConfig, EaseSource
from recsys.retrieval.fusion import reciprocal_rank_fusion
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource
from recsys.retrieval.next_item import NextItemConfig, NextItemSource
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.training.newcomers import welcome_newcomers
from recsys.training.user_trainer import UserTrainerConfig, train_user_tower
from recsys.types import Candidates, Histories, RowArray

DEPTH = 200
HELD_OUT_USERS = 1000  # for the early stop of SASRec; the user tower holds out as many
PEER = Path(__file__).with_name("sasrec_peer.py")
RESULTS = Path(__file__).parent / "results" / "user_tower.json"
PARTS = ("movielens", "new", "beauty")

Figures = dict[str, Estimate]


def user_tower(
    content: EmbeddingTable, learned: Interactions, model: UserTowerConfig, trainer: UserTrainerConfig
) -> tuple[UserTower, float]:
    """A trained tower, and the seconds of CPU it took."""
    torch.manual_seed(0)
    trained = content.ids.of_rows(np.flatnonzero(learned.item_counts()))
    tower = UserTower(content.width, trained, model, content.fingerprint)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as work:
        train_user_tower(tower, content, learned, trainer, Path(work))
    return tower, time.process_time() - started


def source_of(tower: UserTower, content: EmbeddingTable, among: RowArray | None = None) -> UserTowerSource:
    """A tower as a source over the catalogue, or over some rows of it."""
    items = EmbeddingTable(content.ids, tower.item_vectors(content), "user tower")
    searched = items
    if among is not None:
        searched = EmbeddingTable(content.ids, np.zeros_like(items.vectors), "user tower")
        searched.vectors[among] = items.vectors[among]
    return UserTowerSource(tower, items, ExactIndex(searched), "user tower")


def sasrec(python: Path, task: Task, options: Sequence[str]) -> tuple[Candidates, float]:
    """What SASRec of RecTools finds for the users of the test, and the seconds of CPU it took."""
    able = np.flatnonzero(task.before.histories().lengths >= 3)
    held_out = np.random.default_rng(0).choice(able, min(HELD_OUT_USERS, len(able) // 2), replace=False)
    with tempfile.TemporaryDirectory() as work:
        given, found = Path(work) / "in.npz", Path(work) / "out.npz"
        given_arrays = {"users": task.before.users, "items": task.before.items, "held_out": held_out}
        np.savez(given, **given_arrays, asked=task.test.users, depth=np.array(DEPTH))
        subprocess.run([str(python), "-W", "ignore", str(PEER), str(given), str(found), *options], check=True)
        answer = np.load(found)
        print(f"SASRec: hits by epoch {np.round(answer['hits'], 3).tolist()}, kept {answer['epochs']}")
        rows = answer["rows"]
        scores = np.broadcast_to(-np.arange(DEPTH, dtype=np.float32), rows.shape)
        return Candidates(rows, scores, "SASRec (RecTools)"), float(answer["seconds"])


def figures(found: Candidates, targets: RowArray) -> Figures:
    """Hit rates, and NDCG@10 of one target a user."""
    hit = found.rows == targets[:, None]
    place = np.where(hit.any(axis=1), hit.argmax(axis=1), DEPTH)
    gain = np.where(place < 10, 1 / np.log2(place + 2), 0)
    hits = {f"hr@{k}": (place < k).astype(np.float64) for k in (10, 50)}
    return mean_intervals({"hr@10": hits["hr@10"], "ndcg@10": gain, "hr@50": hits["hr@50"]}, 0)


def show(name: str, found: Figures, seconds: float | None = None) -> None:
    said = "  ".join(f"{metric} {of.value:.4f} [{of.low:.4f}, {of.high:.4f}]" for metric, of in found.items())
    print(f"{name:44} {said}" + (f"   {seconds:.0f} s of CPU" if seconds is not None else ""), flush=True)


def compared(
    task: Task,
    sources: Sequence[CandidateSource],
    seconds: Mapping[str, float],
    python: Path | None,
    options: list[str],
) -> dict[str, Any]:
    """Every source alone, and fusions with the user tower."""
    histories, targets = asked(task.before, task.test)
    lists = {source.name: source.retrieve(histories, DEPTH) for source in sources}
    if python is not None:
        peer, took = sasrec(python, task, options)
        lists[peer.source] = peer
        seconds = {**seconds, peer.source: took}
    counted = [name for name in ("next-item", "transition") if name in lists]
    for first in ("user tower", "SASRec (RecTools)"):
        if first in lists:
            for end in range(1, len(counted) + 1):
                names = [first, *counted[:end]]
                lists[" + ".join(names)] = reciprocal_rank_fusion([lists[name] for name in names], DEPTH)
    found = {}
    for name, candidates in lists.items():
        found[name] = figures(candidates, targets)
        show(name, found[name], seconds.get(name))
    return {"sources": found, "seconds": dict(seconds)}


def asked(learned: Interactions, test: Interactions) -> tuple[Histories, RowArray]:
    """Histories of the users of some test engagements, and what they are to be given."""
    return learned.histories().take(test.users.astype(np.int64)), test.items


def movielens(data: MovieLens, python: Path | None, steps: int) -> dict[str, Any]:
    dataset = Dataset(data.dataset.path)
    task = Task.of(dataset.events, dataset.ids)
    content = data.content(data.dataset)
    trainer = UserTrainerConfig(steps=steps)
    tower, seconds = user_tower(content, task.before, UserTowerConfig(), trainer)
    sources = [
        ItemToItemSource(task.before, ItemToItemConfig(similarity="cosine", last=5, decay=0.7), "item-kNN"),
        ItemToItemSource(task.before, ItemToItemConfig(), "transition"),
        EaseSource(task.before, EaseConfig()),
        NextItemSource(task.before, NextItemConfig()),
        source_of(tower, content),
    ]
    options = ["--factors", "64", "--length", "50", "--rate", "0.002"]
    return compared(task, sources, {"user tower": seconds}, python, options)


def new_items(data: MovieLens, steps: int) -> dict[str, Any]:
    """Items that nobody had engaged with, asked of towers that give new items several shares of the first places."""
    dataset = Dataset(data.dataset.path)
    task = Task.of(dataset.events, dataset.ids)
    new = np.random.default_rng(0).random(len(dataset.ids)) < NEW_SHARE
    content = data.content(without_events(data.store, data.dataset, dataset.ids, new))
    learned = task.before.where(~new[task.before.items])
    of_new, of_old = (task.test.where(new[task.test.items] == side) for side in (True, False))
    tower, seconds = user_tower(content, learned, UserTowerConfig(), UserTrainerConfig(steps=steps))
    among_new = np.flatnonzero(new).astype(np.int32)
    chances = {"all items": 50 / len(new), "new items": 50 / len(among_new)}
    print(f"hr@50 by chance {chances}, {len(of_new)} users are asked for {len(among_new)} new items")
    found: dict[str, Figures] = {}
    nearest_content = DenseSource(content, ExactIndex(content), DenseConfig(), "content alone")
    for name, test in (("new", of_new), ("old", of_old)):
        histories, targets = asked(learned, test)
        found[f"{name} targets, content alone"] = figures(nearest_content.retrieve(histories, DEPTH), targets)
        for share in (1.0, 2.0):
            welcome_newcomers(tower, content, learned.histories(), share, seed=0)
            source = source_of(tower, content)
            found[f"{name} targets, share {share:g}"] = figures(source.retrieve(histories, DEPTH), targets)
    histories, targets = asked(learned, of_new)
    found["new targets among new items"] = figures(
        source_of(tower, content, among_new).retrieve(histories, DEPTH), targets
    )
    for name, of in found.items():
        show(name, of)
    return {"found": found, "chance_hr@50": chances, "users": len(of_new), "seconds": seconds}


def amazon_beauty(folder: Path, python: Path | None, steps: int) -> dict[str, Any]:
    ids, task = beauty(folder)
    nothing = EmbeddingTable(ids, np.zeros((len(ids), 1), np.float32), "nothing")
    trainer = UserTrainerConfig(steps=steps, users_per_batch=256)
    tower, seconds = user_tower(nothing, task.before, UserTowerConfig(last=20), trainer)
    sources = [
        PopularitySource(task.before, PopularityConfig()),
        ItemToItemSource(task.before, ItemToItemConfig(similarity="cosine", last=5, decay=0.7), "item-kNN"),
        ItemToItemSource(task.before, ItemToItemConfig(), "transition"),
        source_of(tower, nothing),
    ]
    options = ["--factors", "64", "--length", "20", "--negatives", "128"]
    return compared(task, sources, {"user tower": seconds}, python, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--home", type=Path, help="where content towers are kept; default: a temporary folder")
    parser.add_argument("--sasrec", type=Path, help="Python that has rectools[torch]; default: without SASRec")
    parser.add_argument("--steps", type=int, default=1500, help="of each user tower")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others keep their figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        films = MovieLens(ArtifactStore(arguments.home or Path(scratch)), arguments.data / "ml1m-multimodal")
        folders = {"movielens": films.folder, "new": films.folder, "beauty": arguments.data / "amazon-beauty-seq"}
        for part in arguments.parts:
            if not folders[part].is_dir():
                print(f"{part} skipped: {folders[part]} is not there; name the folder of the data sets with --data")
            elif part == "movielens":
                keep(part, arguments.steps, movielens(films, arguments.sasrec, arguments.steps))
            elif part == "new":
                keep(part, arguments.steps, new_items(films, arguments.steps))
            else:
                keep(part, arguments.steps, amazon_beauty(folders[part], arguments.sasrec, arguments.steps))


def keep(part: str, steps: int, found: dict[str, Any]) -> None:
    """Write the figures of one part beside those of the others."""
    machine = {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__}
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "steps": steps, **found}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {name: results[name] for name in PARTS if name in results} | {part: made}
    RESULTS.write_text(json.dumps(results, indent=2, default=Estimate.model_dump))


if __name__ == "__main__":
    main()
