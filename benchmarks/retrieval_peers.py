"""The systems that bench_retrieval.py compares: ours, FAISS as it is, and whichever peers are installed.

Peers (none is needed otherwise): ``pip install hnswlib usearch lancedb qdrant-client``.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
import pyarrow as pa

from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Effort, Kind, parameters
from recsys.index.selection import Mask, Selection
from recsys.types import FloatArray, RowArray

EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)  # of graphs
LINKS, BUILD_EFFORT = 32, 100


class System(Protocol):
    """A built index of one system.

    Attributes:
        name: of the system and its setting.
        build_seconds: on one thread.
        megabytes: of what it saves, or holds where it saves nothing.
        efforts: from the smallest up, that reach a recall target at some point.
        filters: whether a search can be told which rows to return.
    """

    name: str
    build_seconds: float
    megabytes: float
    efforts: Sequence[Any]
    filters: bool

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray: ...


class Ours:
    """An index of this project."""

    filters = True

    def __init__(self, table: EmbeddingTable, kind: Kind, folder: Path) -> None:
        self.name = f"ours, {kind}"
        started = time.perf_counter()
        self.index = FaissIndex.build(table, FaissConfig(kind=kind))
        self.build_seconds = time.perf_counter() - started
        self.index.save(folder / kind)
        self.megabytes = (folder / kind).stat().st_size / 1e6
        self.tuned: dict[Effort, FaissIndex] = {}
        own = self.index.effort
        if kind == "hnsw":
            self.efforts = [replace(own, breadth=breadth) for breadth in EFFORTS]
        else:
            refines = (2, 4, 8, 16) if self.index.refines else (1,)
            ladder = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256]
            self.efforts = [replace(own, breadth=breadth, refine=refine) for breadth in ladder for refine in refines]

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        if effort not in self.tuned:
            self.tuned[effort] = self.index.with_effort(effort)
        return self.tuned[effort].search(queries, k, None if mask is None else Selection(mask))[0]


class OursExact:
    """Brute force of this project."""

    name, build_seconds, efforts, filters = "ours, exact", 0.0, (None,), True

    def __init__(self, table: EmbeddingTable) -> None:
        self.index = ExactIndex(table)
        self.megabytes = table.vectors.nbytes / 1e6

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        return self.index.search(queries, k, None if mask is None else Selection(mask))[0]


class Faiss:
    """The very index of one of ours, searched by FAISS alone; a filter is its bitmap selector and nothing more."""

    filters = True

    def __init__(self, ours: Ours) -> None:
        self.name = ours.name.replace("ours", "faiss")
        self.build_seconds, self.megabytes, self.efforts = ours.build_seconds, ours.megabytes, ours.efforts
        self.index = ours.index.faiss_index

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        bitmap = None if mask is None else np.packbits(mask, bitorder="little")
        return self.index.search(queries, k, params=parameters(self.index, effort, bitmap))[1]


class FaissFlat:
    """Brute force of FAISS."""

    name, build_seconds, efforts, filters = "faiss, flat", 0.0, (None,), True

    def __init__(self, vectors: FloatArray) -> None:
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.megabytes = vectors.nbytes / 1e6

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        if mask is None:
            return self.index.search(queries, k)[1]
        library: Any = faiss
        selector = library.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        return self.index.search(queries, k, params=library.SearchParameters(sel=selector))[1]


class Hnswlib:
    """hnswlib, which filters by a Python function."""

    name, efforts, filters = f"hnswlib M{LINKS}", EFFORTS, True

    def __init__(self, library: Any, vectors: FloatArray) -> None:
        started = time.perf_counter()
        self.index = library.Index("ip", vectors.shape[1])
        self.index.init_index(len(vectors), M=LINKS, ef_construction=BUILD_EFFORT)
        self.index.set_num_threads(1)
        self.index.add_items(vectors)
        self.build_seconds = time.perf_counter() - started
        self.megabytes = self.index.index_file_size() / 1e6

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        self.index.set_ef(max(effort, k))
        try:
            chosen = None if mask is None else lambda row: mask[row]
            return self.index.knn_query(queries, k, num_threads=1, filter=chosen)[0].astype(np.int32)
        except RuntimeError:  # it raises where it finds fewer than k
            return np.full((len(queries), k), -1, np.int32)


class Usearch:
    """usearch with half floats; its Python search takes no filter."""

    name, efforts, filters = f"usearch f16 M{LINKS}", EFFORTS, False

    def __init__(self, library: Any, vectors: FloatArray) -> None:
        started = time.perf_counter()
        self.index = library.Index(
            ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_EFFORT
        )
        self.index.add(np.arange(len(vectors)), vectors, threads=1)
        self.build_seconds = time.perf_counter() - started
        self.megabytes = self.index.serialized_length / 1e6

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        self.index.expansion_search = effort
        return np.asarray(self.index.search(queries, k, threads=1).keys, np.int32).reshape(len(queries), k)


class Lancedb:
    """lancedb on disk with an inverted file of quantised graphs; one filter a column, found before the search."""

    name, filters = "lancedb IVF_HNSW_SQ", True

    def __init__(self, library: Any, vectors: FloatArray, masks: Sequence[Mask], folder: Path) -> None:
        started = time.perf_counter()
        width = vectors.shape[1]
        columns = {"row": np.arange(len(vectors)), "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), width)}
        columns |= {f"keep{place}": mask for place, mask in enumerate(masks)}
        self.masks = masks
        self.table = library.connect(folder / "lance").create_table("items", pa.table(columns))
        self.table.create_index(
            metric="dot",
            vector_column_name="vector",
            index_type="IVF_HNSW_SQ",
            num_partitions=max(1, len(vectors) // 50_000),
        )
        self.build_seconds = time.perf_counter() - started
        self.megabytes = sum(file.stat().st_size for file in (folder / "lance").rglob("*") if file.is_file()) / 1e6
        self.efforts = [(probes, effort) for effort in (32, 64, 128, 256) for probes in (1, 2, 4)]

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        probes, depth = effort
        rows = np.full((len(queries), k), -1, np.int32)
        for place, query in enumerate(queries):
            asked = (
                self.table.search(query)
                .distance_type("dot")
                .nprobes(probes)
                .ef(max(depth, 2 * k))
                .refine_factor(2)
                .limit(k)
            )
            if mask is not None:
                asked = asked.where(f"keep{next(n for n, own in enumerate(self.masks) if own is mask)}", prefilter=True)
            found = asked.select(["row", "_distance"]).to_arrow()["row"].to_numpy()
            rows[place, : len(found)] = found
        return rows


class Qdrant:
    """qdrant-client's local mode, which compares everything with numpy."""

    name, build_seconds, efforts, filters = "qdrant local", 0.0, (None,), True

    def __init__(self, library: Any, vectors: FloatArray, masks: Sequence[Mask]) -> None:
        self.models, self.masks = library.models, masks
        started = time.perf_counter()
        self.client = library.QdrantClient(":memory:")
        like = self.models.VectorParams(size=vectors.shape[1], distance=self.models.Distance.DOT)
        self.client.create_collection("items", vectors_config=like)
        payload = [{f"keep{place}": bool(mask[row]) for place, mask in enumerate(masks)} for row in range(len(vectors))]
        self.client.upload_collection("items", vectors=vectors, payload=payload, ids=range(len(vectors)))
        self.build_seconds = time.perf_counter() - started
        self.megabytes = vectors.nbytes / 1e6

    def search(self, queries: FloatArray, k: int, effort: Any, mask: Mask | None) -> RowArray:
        chosen = None
        if mask is not None:
            key = f"keep{next(place for place, own in enumerate(self.masks) if own is mask)}"
            match = self.models.MatchValue(value=True)
            chosen = self.models.Filter(must=[self.models.FieldCondition(key=key, match=match)])
        rows = np.full((len(queries), k), -1, np.int32)
        for place, query in enumerate(queries):
            found = self.client.query_points("items", query=query.tolist(), limit=k, query_filter=chosen).points
            rows[place, : len(found)] = [point.id for point in found]
        return rows


def built(table: EmbeddingTable, kinds: Sequence[Kind], peers: Sequence[str], masks: Sequence[Mask]) -> list[System]:
    """Build everything asked for; a peer that is not installed is said to be missing."""
    folder = Path(tempfile.mkdtemp())
    systems: list[System] = [OursExact(table), FaissFlat(table.vectors)]
    for kind in kinds:
        ours = Ours(table, kind, folder)
        print(f"{ours.name}: built in {ours.build_seconds:.0f} s", flush=True)
        systems += [ours, Faiss(ours)]
    makers = {
        "hnswlib": lambda: Hnswlib(importlib.import_module("hnswlib"), table.vectors),
        "usearch": lambda: Usearch(importlib.import_module("usearch.index"), table.vectors),
        "lancedb": lambda: Lancedb(importlib.import_module("lancedb"), table.vectors, masks, folder),
        "qdrant": lambda: Qdrant(importlib.import_module("qdrant_client"), table.vectors, masks),
    }
    for peer in peers:
        try:
            systems.append(makers[peer]())
            print(f"{systems[-1].name}: built in {systems[-1].build_seconds:.0f} s", flush=True)
        except ImportError:
            print(f"{peer} is not installed: left out")
    return systems
