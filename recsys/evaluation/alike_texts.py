"""Texts that share most of their words: wrong partners that are hard for any tower, whatever its own vectors say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.retrieval.words import words_of
from recsys.types import NO_ROW, RowArray


def most_alike(texts: Sequence[str], barred: npt.NDArray[np.bool_]) -> RowArray:
    """For each text the other one of the greatest cosine of tf-idf, the earlier one where several are equal.

    A word weighs (1 + log of its count in the text) * log of (texts / texts with it).

    Args:
        texts: n of them, in Chinese, English or both.
        barred: pairs that may not be chosen, bool ``[n, n]``; a text itself never is.

    Returns:
        int32 ``[n]``, ``NO_ROW`` where all others are barred.
    """
    if not texts:
        return np.empty(0, np.int32)
    n = len(texts)
    counts = [Counter(words_of(text)) for text in texts]
    with_word = Counter(word for count in counts for word in count)
    column = {word: place for place, word in enumerate(with_word)}
    cells = [(row, word, times) for row, count in enumerate(counts) for word, times in count.items()]
    weights = [(1 + np.log(times)) * np.log(n / with_word[word]) for _, word, times in cells]
    places = ([row for row, _, _ in cells], [column[word] for _, word, _ in cells])
    vectors = sparse.csr_array((weights, places), shape=(n, max(len(column), 1)))
    lengths = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    vectors = vectors.multiply(1 / np.maximum(lengths, 1e-12)[:, None]).tocsr()
    alike = (vectors @ vectors.T).toarray()
    alike[barred | np.eye(n, dtype=np.bool_)] = -np.inf
    return np.where(np.isfinite(alike).any(axis=1), alike.argmax(axis=1), NO_ROW).astype(np.int32)
