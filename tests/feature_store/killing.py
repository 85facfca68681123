"""Kills processes that push, write, materialize and compact, and checks what they acknowledged.

``python killing.py KIND FOLDER KILLS SEED``, KIND being the online store. Each process first checks all that its
predecessors had acknowledged, then goes on. An operation stands in a journal before it begins and after it has
returned; the one that had begun may have happened in the offline store or not, but as a whole. Prints, as JSON, how
often each part was hit. The processes are forks of this one, which itself computes nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_store.definitions import FeatureView
from feature_store.online.base import OnlineStore
from feature_store.online.embedded import LmdbStore
from feature_store.online.snapshot import SnapshotStore
from feature_store.store import FeatureStore
from tests.feature_store.declared import at, item_rows, item_view

VIEW: FeatureView = item_view(ttl=None)
ITEMS = [f"i{number}" for number in range(60)]
KINDS: dict[str, Callable[[Path], OnlineStore]] = {"lmdb": LmdbStore, "snapshot": SnapshotStore}
NOTHING = (-1, -1)

Version = tuple[int, int]  # event second, and the number of the operation, which stands in the field "clicks"


class Journal:
    """What was begun and what returned, and what this leaves behind.

    ``known`` holds the versions of each item in the offline store, ``served`` the one that is at least online.
    """

    def __init__(self, file: Path) -> None:
        text = file.read_text() if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        self.stream = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self.stream, len(whole.encode()))
        self.known: dict[str, list[Version]] = {item: [] for item in ITEMS}
        self.served: dict[str, Version] = dict.fromkeys(ITEMS, NOTHING)
        self.rows = self.number = 0
        self.acknowledged: Counter[str] = Counter()
        self.begun: dict[str, Any] | None = None
        for line in whole.splitlines():
            record = json.loads(line)
            if record["is"] == "began":
                self.begun = record
                self.number = max(self.number, record["number"])
            else:
                self._take(record["is"])

    def write(self, record: dict[str, Any]) -> None:
        os.write(self.stream, (json.dumps(record) + "\n").encode())

    def begin(self, kind: str, rows: list[tuple[str, int]]) -> None:
        self.number += 1
        self.begun = {"is": "began", "kind": kind, "number": self.number, "rows": rows}
        self.write(self.begun)

    def end(self, how: str = "returned") -> None:
        """``returned``: acknowledged; ``written``: killed, but in the offline store; ``never``: nowhere."""
        self.write({"is": how})
        self._take(how)

    def _take(self, how: str) -> None:
        begun, self.begun = self.begun, None
        assert begun is not None
        if how != "never" and begun["kind"] in ("push", "write"):
            self.rows += len(begun["rows"])
            for item, event in begun["rows"]:
                self.known[item].append((event, begun["number"]))
        if how == "returned":
            self.acknowledged[begun["kind"]] += 1
            touched = {"push": {item for item, _ in begun["rows"]}, "materialize": set(ITEMS)}.get(begun["kind"], set())
            for item in touched:
                if begun["kind"] == "push":
                    own = [(event, begun["number"]) for name, event in begun["rows"] if name == item]
                    self.served[item] = max(self.served[item], *own)
                else:
                    self.served[item] = max(self.known[item], default=NOTHING)


def online_now(store: FeatureStore) -> dict[str, Version]:
    found = store.online.get_many(VIEW, [item.encode() for item in ITEMS])
    seconds = [int(time) if time < 0 else (int(time) - START_US) // 1_000_000 for time in found["event_time"]]
    return dict(zip(ITEMS, zip(seconds, found["clicks"].tolist(), strict=True), strict=True))


START_US = int(np.datetime64("2026-01-01", "us").astype(np.int64))


def check(store: FeatureStore, journal: Journal) -> None:
    """All that was acknowledged is there; what was begun is there as a whole or not at all."""
    files = store.offline.files(VIEW)
    rows = store.offline.read(VIEW, files)  # every file that is named can be read
    assert len(rows) == sum(file.rows for file in files)
    if journal.begun is not None:
        added = len(journal.begun["rows"])
        assert len(rows) in (journal.rows, journal.rows + added), "a write is visible in part"
        journal.end("written" if added and len(rows) == journal.rows + added else "never")
    assert len(rows) == journal.rows, f"{len(rows)} rows are visible, {journal.rows} were written"
    found = set(zip(rows["item_id"], rows["event_time"].to_physical(), rows["clicks"], strict=True))
    known = {(item, START_US + 1_000_000 * event, number) for item in ITEMS for event, number in journal.known[item]}
    assert found == known
    for item, version in online_now(store).items():
        assert version >= journal.served[item], f"{item}: {journal.served[item]} was acknowledged, {version} is served"
        assert version == NOTHING or version in journal.known[item], f"{item}: {version} was never written"


def live(kind: str, folder: Path, seed: int, phase: Callable[[str], None]) -> None:
    """The life of one process; it ends by being killed."""
    chance = random.Random(seed)
    phase("open")
    store = FeatureStore(folder, KINDS[kind](folder / "online"))
    store.apply([VIEW])
    journal = Journal(folder / "journal")
    phase("check")
    check(store, journal)
    while True:
        what = chance.choice(["push", "push", "push", "write", "materialize", "compact"])
        rows = []
        if what in ("push", "write"):
            items = chance.sample(ITEMS, chance.randint(1, 40))
            rows = [(item, chance.choice([0, 86_400]) + chance.randint(0, journal.number)) for item in items]
        journal.begin(what, rows)
        phase(what)
        batch = item_rows(*((item, at(event), 0.5, journal.number, [1, 2, 3]) for item, event in rows))
        if what == "push":
            store.push(VIEW, batch, at(86_400 * 2 + journal.number))
        elif what == "write":
            created = pl.lit(at(86_400 * 2 + journal.number)).dt.cast_time_unit("us")
            store.write(VIEW, batch.with_columns(created_time=created))
        elif what == "materialize":
            store.materialize(VIEW)
        else:
            store.offline.compact(VIEW)
        journal.end()


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def killed_life(kind: str, folder: Path, seed: int, chance: random.Random) -> str:
    """Let a process live for a while, mostly until it is past its check; returns what it was killed at."""
    read, write = os.pipe()
    child = in_child(lambda: live(kind, folder, seed, lambda name: os.write(write, f"{name}\n".encode())))
    os.close(write)
    seen = b""
    if chance.random() < 0.8:
        while seen.count(b"\n") < 3 and (more := os.read(read, 100)):
            seen += more
    time.sleep(chance.uniform(0, 0.15))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"the process with seed {seed} failed before it was killed")
    with os.fdopen(read, "rb") as phases:
        seen += phases.read()
    return (seen.decode().split("\n") or [""])[-2:][0] or "start"


def last_check(kind: str, folder: Path, facts: int) -> None:
    store = FeatureStore(folder, KINDS[kind](folder / "online"))
    journal = Journal(folder / "journal")
    check(store, journal)
    store.materialize(VIEW)
    expected = {item: max(versions, default=NOTHING) for item, versions in journal.known.items()}
    assert online_now(store) == expected, "materialized is not what was written"
    os.write(facts, json.dumps({"rows": journal.rows, "acknowledged": journal.acknowledged}).encode())


def main() -> None:
    kind, folder, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    chance, doing = random.Random(seed), Counter[str]()
    for number in range(kills):
        doing[killed_life(kind, folder, seed + number, chance)] += 1
    read, write = os.pipe()
    child = in_child(lambda: last_check(kind, folder, write))
    os.close(write)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the last check failed")
    with os.fdopen(read) as facts:
        print(json.dumps({"kills": kills, "during": doing, **json.loads(facts.read())}))


if __name__ == "__main__":
    main()
