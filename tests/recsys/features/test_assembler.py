from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ConfigError
from recsys.features.assembler import FeatureAssembler
from recsys.features.attributes import AttributeAffinity
from recsys.features.behaviour import EngagementPatterns
from recsys.features.content import ContentSimilarity
from recsys.features.requests import RankingRequests
from recsys.features.sources import SourceFeatures, competition_ranks
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.retrieval.random import RandomSource
from recsys.types import NO_ROW, FloatArray, Histories, IdMap

IDS = IdMap.of("abcd")
START = datetime(2024, 1, 1, tzinfo=UTC)


def requests_of(histories: list[list[int]], rows: list[list[int]], times: list[int] | None = None) -> RankingRequests:
    n = len(histories)
    moments = None if times is None else np.array(times, np.int64)
    return RankingRequests(Histories.of(histories), np.arange(n, dtype=np.int32), moments, np.array(rows, np.int32))


def interactions() -> Interactions:
    users, items = np.array([0, 0, 0, 1, 1], np.int32), np.array([0, 1, 2, 1, 0], np.int32)
    times = np.array([0, 1, 2, 0, 1], np.int64)
    return Interactions(IDS, IdMap.of("uv"), users, items, times, np.ones(5, np.float32))


def by_name(group: object, requests: RankingRequests) -> dict[str, FloatArray]:
    assembler = FeatureAssembler([group])  # type: ignore[list-item]
    return dict(zip(assembler.names, np.moveaxis(assembler.assemble(requests), -1, 0), strict=True))


def test_padding_is_unknown_and_blocks_change_nothing() -> None:
    requests = requests_of([[0], [1, 2], []], [[3, 2, NO_ROW], [0, NO_ROW, NO_ROW], [1, 2, 3]])
    assembler = FeatureAssembler(
        [SourceFeatures([RandomSource(4)], standings=True), EngagementPatterns(interactions())]
    )
    features = assembler.assemble(requests)
    assert features.shape == (3, 3, len(assembler.names))
    assert np.isnan(features[requests.padded]).all()
    assert not np.isnan(features[0, 1]).any()
    for request in range(3):
        np.testing.assert_array_equal(assembler.assemble(requests.part(request, request + 1))[0], features[request])


def test_refuses_two_features_of_one_name() -> None:
    with pytest.raises(ConfigError, match="'score:random'"):
        FeatureAssembler([SourceFeatures([RandomSource(4), RandomSource(4)], standings=False)])


def test_source_scores_and_standings_by_hand() -> None:
    source = PopularitySource(interactions(), PopularityConfig())  # users: 2, 2, 1, 0
    requests = requests_of([[]], [[2, 0, 1, 3, NO_ROW]])
    found = by_name(SourceFeatures([source], standings=True), requests)
    np.testing.assert_allclose(found["score:popularity"][0, :4], [1, 2, 2, 0])
    np.testing.assert_allclose(found["rank:popularity"][0, :4], np.log1p([2, 0, 0, 3]))
    np.testing.assert_allclose(found["share:popularity"][0, :4], [0.5, 1, 1, 0])
    assert list(by_name(SourceFeatures([source], standings=False), requests)) == ["score:popularity"]


def test_competition_ranks_count_the_greater() -> None:
    scores = np.random.default_rng(0).integers(0, 6, (20, 9)).astype(np.float32)
    expected = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    np.testing.assert_array_equal(competition_ranks(scores), expected)


def test_content_similarity_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
    group = ContentSimilarity({"image": EmbeddingTable(IDS, vectors, "tower")}, last=2)
    found = by_name(group, requests_of([[3, 0, 1], [3], [1, 3]], [[2, 3], [0, 1], [2, 0]]))
    root = np.sqrt(0.5)
    nan = np.nan
    np.testing.assert_allclose(found["mean:image"], [[1.4 * root, nan], [nan, nan], [0.8, 0]], rtol=1e-5)
    np.testing.assert_allclose(found["max:image"], [[0.8, nan], [nan, nan], [0.8, 0]], rtol=1e-5)
    np.testing.assert_allclose(found["newest:image"], [[0.8, nan], [nan, nan], [nan, nan]], rtol=1e-5)


def test_patterns_of_engagement_by_hand() -> None:
    found = by_name(EngagementPatterns(interactions()), requests_of([[1, 2]], [[0, 2, 3]]))
    np.testing.assert_allclose(found["history_length"][0], [np.log(3)] * 3, rtol=1e-6)
    np.testing.assert_allclose(found["popularity"][0], np.log1p([2, 1, 0]), rtol=1e-6)
    np.testing.assert_allclose(found["popularity_gap"][0], np.log1p([2, 1, 0]) - np.log1p([2, 1]).mean(), rtol=1e-5)
    stage = np.array([np.log1p([0, 1]).mean(), np.log1p(2), np.nan])  # 0 came first and second, 2 third, 3 never
    np.testing.assert_allclose(found["stage"][0], stage, rtol=1e-6)
    np.testing.assert_allclose(found["stage_gap"][0], stage - np.log1p(2), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["stage_spread"][0, 0], np.log1p([0, 1]).std(), rtol=1e-5)
    np.testing.assert_allclose(found["newcomers"][0], [1, 1, np.nan])


def catalog() -> pl.DataFrame:
    return pl.DataFrame(
        {
            schemas.ITEM_ID: list(IDS),
            schemas.CATEGORY: ["food", "travel", "food", None],
            schemas.AUTHOR_ID: [None] * 4,
            schemas.LANGUAGE: ["zh", "zh", "en", "en"],
            schemas.TAGS: [["x", "y"], ["y"], [], ["z"]],
            schemas.CREATED_AT: [START, None, START + timedelta(days=1), START],
        },
        schema_overrides={schemas.AUTHOR_ID: pl.String, schemas.CREATED_AT: pl.Datetime("ms", "UTC")},
    )


def test_affinity_by_hand() -> None:
    group = AttributeAffinity(catalog(), last=2, decay=0.5)
    moment = int((START + timedelta(days=3)).timestamp() * 1000)
    found = by_name(group, requests_of([[3, 1, 0]], [[0, 1, 2, 3]], [moment]))
    assert "affinity:author_id" not in found  # no item has an author
    food, travel = np.array([1, 0.5]) / np.sqrt(1.25)  # newest is 0 (food), before it 1 (travel), 3 is out of reach
    np.testing.assert_allclose(found["affinity:category"][0], [food, travel, food, np.nan], rtol=1e-5)
    np.testing.assert_allclose(found["affinity:language"][0], [1, 1, 0, 0], rtol=1e-5)
    x, y = np.sqrt(0.5), np.sqrt(0.5) + 0.5
    cosines = np.array([(x + y) * np.sqrt(0.5), y, np.nan, 0]) / np.hypot(x, y)
    np.testing.assert_allclose(found["affinity:tags"][0], cosines, rtol=1e-5)
    np.testing.assert_allclose(found["age_days"][0], [3, np.nan, 2, 3])


def test_age_is_unknown_without_a_clock() -> None:
    found = by_name(AttributeAffinity(catalog()), requests_of([[0]], [[0, 1]]))
    assert np.isnan(found["age_days"]).all()
    np.testing.assert_allclose(found["affinity:category"], [[1, 0]])


def test_a_candidate_as_new_is_described_as_if_nobody_had_met_it() -> None:
    """As one whose engagements never happened; the other candidates, and what knows items by content, do not change."""
    requests = requests_of([[1], [0, 2]], [[0, 2], [1, 3]])
    as_new = replace(requests, as_new=np.array([[True, False], [True, False]]))
    met = interactions()
    for request, item in ((0, 0), (1, 1)):
        unmet = met.where(met.items != item)
        expected = by_name(EngagementPatterns(unmet), requests)
        for name, values in by_name(EngagementPatterns(met), as_new).items():
            np.testing.assert_array_equal(values[request, 0], expected[name][request, 0], err_msg=name)
            np.testing.assert_array_equal(values[:, 1], by_name(EngagementPatterns(met), requests)[name][:, 1])
    sources = SourceFeatures([PopularitySource(met, PopularityConfig()), RandomSource(4)], standings=False)
    before, after = by_name(sources, requests), by_name(sources, as_new)
    assert (before["score:popularity"][:, 0] > 0).all()
    assert after["score:popularity"][:, 0].tolist() == [0, 0]
    np.testing.assert_array_equal(after["score:popularity"][:, 1], before["score:popularity"][:, 1])
    np.testing.assert_array_equal(after["score:random"], before["score:random"])
