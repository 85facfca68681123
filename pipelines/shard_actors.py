"""Shards as Ray actors: one actor a shard, anywhere on the cluster, under the same verbs as shards in one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ray

from recsys.index.base import VectorIndex
from recsys.index.generation import IndexGeneration
from recsys.index.selection import Selection
from recsys.index.shards import ShardedGeneration
from recsys.types import FloatArray, RowArray


class ShardActor:
    """Holds one shard open.

    Args:
        path: of its generation, reachable from the actor's node.
    """

    def __init__(self, path: Path) -> None:
        self.index = IndexGeneration.open(path).index

    def __len__(self) -> int:
        return len(self.index)

    def search(self, queries: FloatArray, k: int, selection: Selection | None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        return self.index.search(queries, k, selection)


class RemoteShard:
    """The caller's side of an actor."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def __len__(self) -> int:
        return int(ray.get(self.actor.__len__.remote()))

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        found: tuple[RowArray, FloatArray] = ray.get(self.actor.search.remote(queries, k, selection))
        return found


def open_on_ray(path: Path, cpus_per_shard: float = 1) -> ShardedGeneration:
    """Open a sharded generation on the connected Ray cluster, an actor for each shard.

    An actor that dies is started again by Ray; searches meanwhile come without its items, and say so.

    Args:
        path: of the sharded generation, on a file system all nodes reach.
        cpus_per_shard: that Ray reserves.
    """
    return ShardedGeneration.open(path, partial(_start, cpus_per_shard))


def _start(cpus: float, path: Path) -> VectorIndex:
    return RemoteShard(ray.remote(num_cpus=cpus, max_restarts=-1)(ShardActor).remote(path))
