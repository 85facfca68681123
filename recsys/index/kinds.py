"""The kinds of FAISS index: how each is made, what turns its recall, and what a vector costs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from recsys.types import FloatArray

Kind = Literal["flat", "ivf_flat", "ivf_fp16", "ivf_sq8", "hnsw", "ivf_pq", "rabitq"]

ID_BYTES = 8  # of a vector in an inverted list
LINKS = 32  # of a vector in a graph; twice as many on the ground floor, 4 bytes each


@dataclass(frozen=True)
class Recipe:
    """How a kind is made.

    Attributes:
        factory: the words of ``faiss.index_factory``.
        turns: the search parameter that trades time for recall; empty where there is nothing to trade.
        code_bytes: per dimension, of what every search reads.
        vector_bytes: per vector, of the same: ids, links, factors.
        refining_bytes: per dimension, of the finer copy that orders the first answers again; read for those only, it
            may stay on disk.
    """

    factory: str
    turns: Literal["", "nprobe", "efSearch"]
    code_bytes: float
    vector_bytes: int
    refining_bytes: float = 0

    @property
    def refines(self) -> bool:
        return self.refining_bytes > 0

    def words(self, width: int, lists: int) -> str:
        """The factory's words for vectors of a width in so many lists."""
        return self.factory.format(width=width, lists=lists, parts=width // 2 if width % 2 == 0 else width)

    def resident_bytes(self, width: int) -> float:
        """Of a vector, what should be in memory."""
        return self.code_bytes * width + self.vector_bytes

    def file_bytes(self, width: int) -> float:
        """Of a vector, all."""
        return self.resident_bytes(width) + self.refining_bytes * width


RECIPES: dict[Kind, Recipe] = {
    "flat": Recipe("Flat", "", 4, 0),
    "ivf_flat": Recipe("IVF{lists},Flat", "nprobe", 4, ID_BYTES),
    "ivf_fp16": Recipe("IVF{lists},SQfp16", "nprobe", 2, ID_BYTES),
    "ivf_sq8": Recipe("IVF{lists},SQ8", "nprobe", 1, ID_BYTES),
    "hnsw": Recipe(f"HNSW{LINKS},SQfp16", "efSearch", 2, 8 * LINKS + 16),
    "ivf_pq": Recipe("IVF{lists},PQ{parts}x4fs,Refine(SQfp16)", "nprobe", 0.25, ID_BYTES, refining_bytes=2),
    "rabitq": Recipe("RR{width},IVF{lists},RaBitQfs,Refine(SQ8)", "nprobe", 0.125, ID_BYTES + 8, refining_bytes=1),
}


@dataclass(frozen=True)
class Effort:
    """How hard a search looks.

    Attributes:
        breadth: inverted lists read (nprobe), or nodes of the graph kept in view (efSearch).
        refine: that many times k first answers are ordered again, by kinds that refine.
    """

    breadth: int
    refine: float = 1


def new_index(kind: Kind, width: int, lists: int, seed: int) -> Any:
    """An untrained index of inner products. The same seed, vectors and number of threads train it the same."""
    index = faiss.index_factory(width, RECIPES[kind].words(width, lists), faiss.METRIC_INNER_PRODUCT)
    if RECIPES[kind].turns == "nprobe":
        inverted = inverted_file(index)
        inverted.cp.seed = seed
        inverted.cp.min_points_per_centroid = 1  # a chosen number of lists is the caller's word
        if kind == "ivf_pq":
            inverted.pq.cp.min_points_per_centroid = 1
    return index


def inverted_file(index: Any) -> Any:
    """The inverted file inside whatever rotates before it and refines after it."""
    return faiss.downcast_index(faiss.extract_index_ivf(index))


def centroids(index: Any) -> FloatArray:
    """Of the inverted lists ``[lists, d]``, in the space of the queries."""
    inverted = inverted_file(index)
    found: FloatArray = faiss.downcast_index(inverted.quantizer).reconstruct_n(0, inverted.nlist)
    if isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        found = faiss.downcast_VectorTransform(chain.at(0)).reverse_transform(found)
    return found


def set_effort(index: Any, effort: Effort) -> None:
    """Make an effort the index's own, so that it is written into its file."""
    if isinstance(index, faiss.IndexRefine):
        index.k_factor = effort.refine
        index = faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = effort.breadth
    elif not isinstance(index, faiss.IndexFlat):
        inverted_file(index).nprobe = effort.breadth


def own_effort(index: Any) -> Effort:
    """The effort that :func:`set_effort` has set."""
    refine = 1.0
    if isinstance(index, faiss.IndexRefine):
        refine = index.k_factor
        index = faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexHNSW):
        return Effort(index.hnsw.efSearch, refine)
    return Effort(0 if isinstance(index, faiss.IndexFlat) else inverted_file(index).nprobe, refine)


def parameters(index: Any, effort: Effort, bitmap: npt.NDArray[np.uint8] | None = None) -> Any:
    """FAISS's search parameters for one search, which other threads' searches do not see.

    Args:
        index: that is searched.
        effort: of the search.
        bitmap: a bit per position, lowest first; set where it may be returned.
    """
    library: Any = faiss  # its type stubs do not know that parameters are given by name
    if isinstance(index, faiss.IndexRefine):
        base = parameters(faiss.downcast_index(index.base_index), effort, bitmap)
        return library.IndexRefineSearchParameters(k_factor=effort.refine, base_index_params=base)
    if isinstance(index, faiss.IndexPreTransform):
        inner = parameters(faiss.downcast_index(index.index), effort, bitmap)
        return library.SearchParametersPreTransform(index_params=inner)
    among = {} if bitmap is None else {"sel": library.IDSelectorBitmap(bitmap)}
    if isinstance(index, faiss.IndexIVFRaBitQFastScan):
        return library.IVFRaBitQSearchParameters(nprobe=effort.breadth, **among)
    if isinstance(index, faiss.IndexIVF):
        return library.SearchParametersIVF(nprobe=effort.breadth, **among)
    if isinstance(index, faiss.IndexHNSW):
        return library.SearchParametersHNSW(efSearch=effort.breadth, **among)
    return library.SearchParameters(**among)
