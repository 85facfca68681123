"""Kills processes that write to a live index and publish generations, and checks what they acknowledged.

``python killing.py FOLDER KILLS SEED``. Each process first checks everything that its predecessors had acknowledged
when they were killed, then goes on: two threads put and remove items, a third merges, rebases, publishes, rolls back
and collects. An operation stands in a journal before it begins and after it has returned; the one that had begun may
have happened or not, but nothing in between. Prints, as JSON, how often each part was hit. The processes are forks of
this one, which itself computes nothing, so that they start in no time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset  # noqa: F401 - what reading a table imports at its first use

from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation
from recsys.index.live import LiveConfig, LiveIndex
from recsys.types import IdMap

WIDTH, START, WRITERS, IDS = 8, 60, 2, 80
CONFIG = LiveConfig(index=IndexConfig(kind="faiss", faiss=FaissConfig(nlist=4, nprobe=4)), merge_at=150)
KEPT = 2

State = Any


class Edition(BaseConfig):
    """Config of a published generation: a number."""

    number: int = 0


class Journal:
    """What one thread began and what returned, and the state this leaves behind."""

    def __init__(self, file: Path, state: State, step: Callable[[State, Any], State]) -> None:
        self.file, self.step = file, step
        text = file.read_text() if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        self.stream = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self.stream, len(whole.encode()))
        self.returned, self.begun = 0, None
        for line in whole.splitlines():
            kind, operation = json.loads(line)
            if kind == "began":
                self.begun = operation
            else:
                state = step(state, self.begun) if kind == "returned" else state
                self.returned, self.begun = self.returned + (kind == "returned"), None
        self.state = state

    def settle(self, is_so: Callable[[State], None]) -> None:
        """Check that the state is the one before or the one after what was begun last."""
        if self.begun is None:
            is_so(self.state)
            return
        after = self.step(self.state, self.begun)
        try:
            is_so(self.state)
            happened = False
        except AssertionError:
            is_so(after)
            happened = True
        self._write("returned" if happened else "never happened", None)
        self.state, self.begun = (after if happened else self.state), None

    @contextmanager
    def doing(self, operation: Any) -> Iterator[None]:
        self._write("began", operation)
        yield
        self._write("returned", None)
        self.state = self.step(self.state, operation)

    def _write(self, kind: str, operation: Any) -> None:
        os.write(self.stream, (json.dumps([kind, operation]) + "\n").encode())


def vector(item: str, version: int) -> np.ndarray:
    drawn = np.random.default_rng(zlib.crc32(f"{item} {version}".encode())).standard_normal(WIDTH)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def after_write(items: dict[str, int], operation: dict[str, int | None]) -> dict[str, int]:
    return {item: version for item, version in (items | operation).items() if version is not None}


def after_publishing(keys: list[str], operation: list[str]) -> list[str]:
    name, key = operation
    return {"publish": [key, *keys], "roll back": keys[1:], "collect": keys[: KEPT + 1]}[name]


def first_items(writer: int) -> dict[str, int]:
    return {f"{writer}-{n}": 0 for n in range(START)}


def check_items(live: LiveIndex, journals: list[Journal]) -> None:
    table = live.snapshot.table()
    found = dict(zip(table.ids, table.vectors, strict=True))
    rows, _ = live.snapshot.search(np.eye(WIDTH, dtype=np.float32), 3 * WRITERS * IDS)
    for answer in rows:
        returned = live.snapshot.externals(answer)
        assert sorted(returned) == sorted(found), "a search returns other items than there are"
    nearest = live.snapshot.search(table.vectors, 1)[0][:, 0]
    assert live.snapshot.externals(nearest) == list(table.ids), "an item is not its own nearest"
    for writer, journal in enumerate(journals):

        def is_so(items: dict[str, int], prefix: str = f"{writer}-") -> None:
            there = {item: found[item] for item in found if item.startswith(prefix)}
            assert there.keys() == items.keys(), (
                f"lost {items.keys() - there.keys()}, back {there.keys() - items.keys()}"
            )
            for item, version in items.items():
                np.testing.assert_array_equal(there[item], vector(item, version), f"{item}, version {version}")

        journal.settle(is_so)
    ArtifactStore(live._store.home).current("base").verify()


def check_published(store: ArtifactStore, journal: Journal) -> None:
    def is_so(keys: list[str]) -> None:
        assert store.used_keys("index") == keys

    journal.settle(is_so)
    for key in journal.state:
        artifact = store.find("index", key)
        assert artifact is not None, f"{key} is gone"
        artifact.verify()
    if journal.state:
        current = store.current("index")
        generation = IndexGeneration.open(current.path)
        number = current.manifest.config["number"]
        rows, scores = generation.search(generation.table.vectors[:1], 1, f"tower {number}")
        assert rows.tolist() == [[0]]
        np.testing.assert_allclose(scores, 1, atol=1e-6)


def publish(store: ArtifactStore, number: int) -> Artifact:
    vectors = np.stack([vector(f"p{n}", number) for n in range(START)])
    table = EmbeddingTable(IdMap.of([f"p{n}" for n in range(START)]), vectors, f"tower {number}")
    return store.build(
        "index", 1, Edition(number=number), {}, lambda work: build_generation(table, CONFIG.index, work)
    )[0]


def rebase(live: LiveIndex, folder: Path) -> None:
    contains = live.pin()
    build_generation(live.snapshot.table(), CONFIG.index, folder)
    live.rebase(folder, contains)
    shutil.rmtree(folder)


def write_for_ever(live: LiveIndex, journal: Journal, writer: int, seed: int) -> None:
    chance = random.Random(seed)
    version = journal.returned + 1
    while True:
        version += 1
        items = chance.sample([f"{writer}-{n}" for n in range(IDS)], chance.randint(1, 12))
        if chance.random() < 0.6:
            with journal.doing(dict.fromkeys(items, version)):
                live.put(items, np.stack([vector(item, version) for item in items]), "tower")
        else:
            with journal.doing(dict.fromkeys(items)):
                live.remove(items)


def live_and_publish(folder: Path, seed: int, phase: Callable[[str], None]) -> None:
    """The life of one process; it ends by being killed."""
    chance = random.Random(seed)
    phase("open")
    if not (folder / "live/base/CURRENT").exists():
        items = {item: vector(item, 0) for writer in range(WRITERS) for item in first_items(writer)}
        table = EmbeddingTable(IdMap.of(items), np.stack(list(items.values())), "tower")
        build_generation(table, CONFIG.index, folder / "first")
        live = LiveIndex.create(folder / "live", folder / "first", CONFIG)
    else:
        live = LiveIndex(folder / "live", CONFIG)
    store = ArtifactStore(folder / "home")
    journals = [Journal(folder / f"journal-{n}", first_items(n), after_write) for n in range(WRITERS)]
    publishing = Journal(folder / "journal-published", [], after_publishing)
    phase("check")
    check_items(live, journals)
    check_published(store, publishing)
    phase("write")
    for writer, journal in enumerate(journals):
        threading.Thread(target=in_thread, args=(write_for_ever, live, journal, writer, seed), daemon=True).start()
    number = 10_000 * seed
    while True:
        what = chance.choice(["write", "merge", "merge", "rebase", "publish", "roll back", "collect"])
        phase(what)
        if what == "write":
            time.sleep(0.02)
        elif what == "merge":
            live.merge()
        elif what == "rebase":
            number += 1
            rebase(live, folder / f"rebuilt-{number}")
        elif what == "publish":
            number += 1
            key = store.key_of("index", 1, Edition(number=number), {})
            with publishing.doing([what, key]):
                publish(store, number)
        elif what == "roll back" and len(publishing.state) > 1:
            with publishing.doing([what, ""]):
                store.rollback("index")
        elif what == "collect" and publishing.state:
            with publishing.doing([what, ""]):
                store.collect("index", KEPT)


def in_thread(work: Callable[..., None], *arguments: Any) -> None:
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def killed_life(folder: Path, seed: int, seconds: float) -> str:
    """Let a process live for so long; returns what it was doing when it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        in_thread(live_and_publish, folder, seed, lambda name: os.write(write, f"{name}\n".encode()))
    os.close(write)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"the process with seed {seed} failed before it was killed")
    with os.fdopen(read) as phases:
        return (phases.read().split("\n") or [""])[-2:][0] or "start"


def main() -> None:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance, doing = random.Random(seed), Counter[str]()
    for number in range(kills):
        doing[killed_life(folder, seed + number, chance.choice([0.05, 0.2, 0.4]) * chance.uniform(0.2, 1.0))] += 1
    read, write = os.pipe()
    child = os.fork()  # a last one that only checks
    if child == 0:
        in_thread(lambda: check_all(folder, write))
        os._exit(0)
    os.close(write)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the last check failed")
    with os.fdopen(read) as facts:
        print(json.dumps({"kills": kills, "during": doing, **json.loads(facts.read())}))


def check_all(folder: Path, facts: int) -> None:
    live = LiveIndex(folder / "live", CONFIG)
    journals = [Journal(folder / f"journal-{n}", first_items(n), after_write) for n in range(WRITERS)]
    publishing = Journal(folder / "journal-published", [], after_publishing)
    check_items(live, journals)
    check_published(ArtifactStore(folder / "home"), publishing)
    found = {
        "commits": live.snapshot.sequence,
        "acknowledged_writes": sum(journal.returned for journal in journals),
        "acknowledged_publications": publishing.returned,
        "merged_bases": len(list((folder / "live/base").glob("[!.]*/manifest.json"))),
    }
    os.write(facts, json.dumps(found).encode())
    live.close()


if __name__ == "__main__":
    main()
