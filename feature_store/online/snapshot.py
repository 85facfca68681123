"""SnapshotStore: records of a whole view in one memory-mapped file, and an LMDB overlay for what changed since.

Made for item features that are rewritten as a whole: a read is a binary search and a gather. Writes go to the overlay;
of overlay and file the record that supersedes the other is read. :meth:`SnapshotStore.settle` folds the overlay into
the next file. Which file is read stands in the overlay's environment and changes in the transaction that empties the
overlay, so a reader sees both before or both after.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_store.definitions import CREATED_TIME, EVENT_TIME, Array, FeatureView
from feature_store.durable import sole_writer, sync
from feature_store.exceptions import StoreError
from feature_store.online.embedded import LmdbConfig, LmdbStore
from feature_store.records import Key, absent

FILE = b"file"
BLOCK_ROWS = 100_000  # that are copied at once
ATTEMPTS = 5  # to open a file while others replace it


@dataclass(frozen=True, eq=False)
class _Matrix:
    """Keys ``[n]``, sorted, as bytes of a fixed width; and their records ``[n]``."""

    keys: Array
    records: Array

    def find(self, wanted: Array) -> tuple[Array, Array]:
        """Place of each wanted key, any where it is not there; and whether it is there."""
        fitting = wanted.astype(self.keys.dtype)  # else numpy would widen all keys instead
        places = np.minimum(np.searchsorted(self.keys, fitting), len(self.keys) - 1)
        there = self.keys[places] == fitting
        if wanted.itemsize > self.keys.itemsize:
            there &= np.char.str_len(wanted) <= self.keys.itemsize
        return places, there


class SnapshotStore:
    """See :class:`~feature_store.online.base.OnlineStore`.

    Args:
        folder: made if it is missing; ``overlay/`` and a folder for each view stand in it.
        config: of the overlay.
    """

    def __init__(self, folder: Path, config: LmdbConfig | None = None) -> None:
        self.folder = folder
        self.overlay = LmdbStore(folder / "overlay", config)
        self._mapped: dict[str, tuple[bytes, _Matrix]] = {}

    def put_many(self, view: FeatureView, keys: Sequence[Key], records: Array) -> int:
        return self.overlay.put_many(view, keys, records)

    def get_many(self, view: FeatureView, keys: Sequence[Key]) -> Array:
        for _ in range(ATTEMPTS):
            file, fresh = self.overlay.read(view, keys, FILE)
            try:
                matrix = None if file is None else self._matrix(view, file)
            except FileNotFoundError:  # replaced since we asked which it is
                continue
            break
        else:
            raise StoreError(
                f"{self.folder / view.label} has lost its file.", "Remove the folder and materialize again."
            )
        if matrix is None or not keys:
            return np.repeat(absent(view), len(keys)) if fresh is None else fresh
        places, there = matrix.find(np.array(keys))
        held = matrix.records[places]
        if not there.all():
            held[~there] = absent(view)
        return held if fresh is None else np.where(_newer(fresh, held), fresh, held)

    def watermark(self, view: FeatureView) -> int:
        return self.overlay.watermark(view)

    def advance(self, view: FeatureView, watermark: int) -> None:
        self.overlay.advance(view, watermark)

    def settle(self, view: FeatureView) -> None:
        """Write the next file from the present one and the overlay, and read it from then on."""
        folder = self.folder / view.label
        with sole_writer(folder):
            keys, fresh = self.overlay.all(view)
            if not keys:
                return
            file, _ = self.overlay.read(view, [], FILE)
            name = uuid.uuid4().hex
            self._write(folder / name, np.array(keys), fresh, None if file is None else self._matrix(view, file))
            self.overlay.forget(view, keys, fresh, {FILE: name.encode()})
            for old in folder.glob("*.npy"):
                if not old.name.startswith(name):
                    old.unlink()

    def close(self) -> None:
        self.overlay.close()
        self._mapped = {}

    def _matrix(self, view: FeatureView, file: bytes) -> _Matrix:
        held = self._mapped.get(view.label)
        if held is not None and held[0] == file:
            return held[1]
        stem = self.folder / view.label / file.decode()
        matrix = _Matrix(*(np.load(f"{stem}.{part}.npy", mmap_mode="r") for part in ("keys", "records")))
        self._mapped[view.label] = (file, matrix)
        return matrix

    def _write(self, stem: Path, keys: Array, fresh: Array, matrix: _Matrix | None) -> None:
        """Merge the overlay's records, whose keys are sorted, into those of a file."""
        all_keys = keys
        sources = np.arange(len(keys))  # places in the overlay, and behind it those of the file
        if matrix is not None:
            places, there = matrix.find(keys)
            old = ~np.isin(np.arange(len(matrix.keys)), places[there & _newer(fresh, matrix.records[places])])
            new = ~there | ~old[places]
            all_keys = np.concatenate([keys[new], matrix.keys[old]])
            sources = np.concatenate([np.flatnonzero(new), len(keys) + np.flatnonzero(old)])
            order = np.argsort(all_keys, kind="stable")
            all_keys, sources = all_keys[order], sources[order]
        np.save(f"{stem}.keys.npy", all_keys)
        records = np.lib.format.open_memmap(f"{stem}.records.npy", "w+", fresh.dtype, (len(sources),))
        for start in range(0, len(sources), BLOCK_ROWS):
            block = sources[start : start + BLOCK_ROWS]
            of_file = block >= len(keys)
            rows = fresh[np.where(of_file, 0, block)]
            if matrix is not None:
                rows[of_file] = matrix.records[block[of_file] - len(keys)]
            records[start : start + BLOCK_ROWS] = rows
        records.flush()
        del records
        for part in ("keys", "records"):
            sync(stem.with_name(f"{stem.name}.{part}.npy"))
        sync(stem.parent)


def _newer(fresh: Array, held: Array) -> Array:
    """Where a record of the overlay supersedes that of the file; see :func:`~feature_store.recency.supersedes`."""
    event, old_event = fresh[EVENT_TIME], held[EVENT_TIME]
    found: Array = (event > old_event) | ((event == old_event) & (fresh[CREATED_TIME] >= held[CREATED_TIME]))
    return found
