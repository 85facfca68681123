from __future__ import annotations

import numpy as np
import pytest

from recsys.exceptions import ConfigError
from recsys.retrieval.fusion import FUSED, Origin
from recsys.retrieval.quota import quota_merge
from recsys.types import NO_ROW, Candidates


def candidates(source: str, *lists: list[int]) -> Candidates:
    width = max(map(len, lists))
    rows = np.array([[*of_request, *[NO_ROW] * (width - len(of_request))] for of_request in lists], np.int32)
    scores = np.where(rows == NO_ROW, -np.inf, 9 - np.arange(width)).astype(np.float32)
    return Candidates(rows, scores, source)


def merged(lists: list[Candidates], k: int, quotas: dict[str, int]) -> list[list[int]]:
    return quota_merge(lists, k, quotas).rows.tolist()


def test_the_turn_goes_to_the_source_that_has_filled_the_smallest_share() -> None:
    a, b = candidates("a", [1, 2, 3, 4, 5, 6]), candidates("b", [11, 12, 13])
    assert merged([a, b], 6, {"a": 4, "b": 2}) == [[1, 2, 11, 3, 4, 12]]
    assert merged([a, b], 4, {"a": 2, "b": 2}) == [[1, 11, 2, 12]]
    assert merged([b, a], 4, {"a": 2, "b": 2}) == [[11, 1, 12, 2]]  # of equals the first


def test_an_item_of_two_sources_stands_once_and_takes_no_place_of_the_second() -> None:
    a, b = candidates("a", [1, 2, 3, 4]), candidates("b", [2, 1, 7, 8])
    assert merged([a, b], 4, {"a": 2, "b": 2}) == [[1, 2, 3, 7]]


def test_places_that_a_source_cannot_fill_go_on_to_the_others() -> None:
    a, b, c = candidates("a", [1], [1, 2]), candidates("b", [11, 12, 13, 14], []), candidates("c", [21, 22], [])
    assert merged([a, b, c], 6, {"a": 3, "b": 2, "c": 1}) == [
        [1, 11, 12, 21, 13, 14],  # two of a's are left: b has three halves of its own, then as much as c
        [1, 2, NO_ROW, NO_ROW, NO_ROW, NO_ROW],
    ]


def test_places_that_no_quota_claims_are_divided_likewise() -> None:
    a, b = candidates("a", [1, 2, 3, 4, 5]), candidates("b", [11, 12, 13])
    assert merged([a, b], 6, {"a": 2, "b": 1}) == [[1, 2, 11, 3, 4, 12]]
    assert merged([a, b], 8, {"a": 1, "b": 2}) == [[11, 1, 12, 13, 2, 3, 4, 5]]


def test_every_source_keeps_its_places_on_random_lists() -> None:
    generator = np.random.default_rng(3)
    for _ in range(60):
        lists = [
            candidates(name, *(generator.permutation(40)[: generator.integers(1, 25)].tolist() for _ in range(3)))
            for name in "abc"
        ]
        quotas = {name: int(generator.integers(1, 9)) for name in "abc"}
        k = sum(quotas.values()) + int(generator.integers(0, 9))
        found = quota_merge(lists, k, quotas)
        longer = quota_merge(lists, k + 20, quotas).rows
        np.testing.assert_array_equal(longer[:, :k], found.rows)
        for request in range(3):
            kept = [row for row in found.rows[request].tolist() if row != NO_ROW]
            offered = {one.source: [row for row in one.rows[request].tolist() if row != NO_ROW] for one in lists}
            everything = set().union(*map(set, offered.values()))
            assert len(kept) == len(set(kept)) == min(k, len(everything))
            for name, rows in offered.items():
                assert len(set(kept) & set(rows)) >= min(quotas[name], len(rows))
                assert set(rows[: quotas[name]]) <= set(kept)  # its best are never left out


def test_every_candidate_keeps_its_sources_and_places_make_the_scores() -> None:
    a, b = candidates("a", [1, 2, 3]), candidates("b", [3, 1])
    found = quota_merge([a, b], 4, {"a": 2, "b": 2})
    assert found.source == FUSED
    assert found.rows.tolist() == [[1, 3, 2, NO_ROW]]
    np.testing.assert_allclose(found.scores, [[1 / 61, 1 / 62, 1 / 63, -np.inf]], rtol=1e-6)
    assert found.origins(0, 3) == [Origin("b", 1, 9.0), Origin("a", 3, 7.0)]


def test_what_cannot_be_merged_is_refused_by_name() -> None:
    a = candidates("a", [1])
    with pytest.raises(ConfigError, match="'c' has no candidates"):
        quota_merge([a], 3, {"a": 1, "c": 1})
    with pytest.raises(ConfigError, match=r"'b' has no quota\. Give a quota to each of \['a', 'b'\]"):
        quota_merge([a, candidates("b", [2])], 3, {"a": 1})
    with pytest.raises(ConfigError, match="ask for 4 places of 3"):
        quota_merge([a], 3, {"a": 4})
    with pytest.raises(ConfigError, match="no candidate lists"):
        quota_merge([], 3, {})
