"""Lexical search: BM25 over the words of items, in Chinese and English."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import polars as pl
from pydantic import Field

from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError
from recsys.index.selection import Selection
from recsys.retrieval.words import words_of
from recsys.towers.base import item_texts
from recsys.types import NO_ROW, Candidates, FloatArray, RowArray

WORDS = "words"
"""Name of the source."""


class LexicalConfig(BaseConfig):
    """BM25's two constants."""

    k1: float = Field(1.2, ge=0)  # how soon a repeated word adds nothing more
    b: float = Field(0.75, ge=0, le=1)  # how much a long text is held back


class LexicalIndex:
    """Items by the words of their title, hashtags and body.

    The score is the sum over the words of a query, a repeated word as often as it is repeated, of
    idf * tf / (tf + k1 * (1 - b + b * length / mean length)), idf = ln(1 + (n - df + 0.5) / (df + 0.5)): BM25 as Lucene
    has it (Robertson and Zaragoza, 2009). Items that share no word with a query are not returned.
    """

    def __init__(self, index: bm25s.BM25) -> None:
        self._index = index

    @classmethod
    def build(cls, items: pl.DataFrame, config: LexicalConfig) -> LexicalIndex:
        """Count the words of items.

        Args:
            items: rows of :data:`recsys.schemas.ITEMS`; the rows of every search are theirs.
            config: see :class:`LexicalConfig`.
        """
        vocabulary: dict[str, int] = {}
        counted = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text or "")]
            for text in item_texts(items)
        ]
        index = bm25s.BM25(k1=config.k1, b=config.b, method="lucene", backend="numpy", csc_backend="scipy")
        index.index((counted, vocabulary), create_empty_token=False, show_progress=False)
        return cls(index)

    def save(self, path: Path) -> None:
        """Write the scores of every word in every item, and the vocabulary, into a directory."""
        self._index.save(path, show_progress=False)

    @classmethod
    def open(cls, path: Path) -> LexicalIndex:
        """Open what :meth:`save` wrote: the scores are memory-mapped, the vocabulary is read.

        Raises:
            ArtifactError: there is none.
        """
        if not (path / "params.index.json").exists():
            raise ArtifactError(f"There is no lexical index in {path}.", "Run `recsys index`.")
        return cls(bm25s.BM25.load(path, mmap=True, show_progress=False))

    def __len__(self) -> int:
        return int(self._index.scores["num_docs"])

    @property
    def vocabulary(self) -> int:
        """How many different words there are."""
        return len(self._index.vocab_dict)

    def search(self, texts: Sequence[str], k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """The k items with the highest score for each text, among those that may be returned.

        Args:
            texts: the queries; one without a known word finds nothing.
            k: number of items.
            selection: rows that may be returned; default: all.

        Returns:
            Rows int32 ``[q, k]`` best first, equal scores by rising row, padded with ``NO_ROW``, and scores ``[q, k]``,
            ``-inf`` there.
        """
        rows = np.full((len(texts), k), NO_ROW, np.int32)
        scores = np.full((len(texts), k), -np.inf, np.float32)
        for query, text in enumerate(texts):
            known = self._index.get_tokens_ids(words_of(text))
            if not known:
                continue
            of_items = self._index.get_scores_from_ids(known)
            if selection is not None:
                of_items[~selection.mask(query, len(self))] = 0
            found = np.flatnonzero(of_items)
            if len(found) > k:
                found = found[of_items[found] >= np.partition(of_items[found], -k)[-k]]
            found = found[np.argsort(-of_items[found], kind="stable")[:k]]
            rows[query, : len(found)], scores[query, : len(found)] = found, of_items[found]
        return rows, scores

    def candidates(self, texts: Sequence[str], k: int, selection: Selection | None = None) -> Candidates:
        """The same as candidates of a source, for fusion."""
        return Candidates(*self.search(texts, k, selection), WORDS)
