"""Measurements behind the report: feeds over the whole catalogue, logged slates, and text queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.splits import TIME, Split
from recsys.data.world import Truth
from recsys.embeddings.table import EmbeddingTable
from recsys.evaluation.judged_queries import JudgedQueries
from recsys.evaluation.judgements import NO_LABEL, Judgements
from recsys.evaluation.ranking import RANKING_METRICS, evaluate_ranking
from recsys.evaluation.report import RankingTable, RetrievalTable
from recsys.evaluation.retrieval import evaluate_retrieval
from recsys.evaluation.slices import catalogue_slices, text_characters
from recsys.features.requests import RankingRequests
from recsys.features.sources import competition_ranks
from recsys.index.exact import ExactIndex
from recsys.ranking.base import Ranker
from recsys.ranking.impressions import from_impressions
from recsys.retrieval.base import top_unseen
from recsys.retrieval.fusion import RANK_CONSTANT
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.retrieval.random import RandomSource
from recsys.serving.cascade import Cascade, in_order
from recsys.towers.base import ItemTower
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, IdMap, RowArray

DEPTH = 200
MOST_QUERIES = 2000
REPORTED = ("random", "text-only", "image-only")
"""Baselines that are measured although they are asked for no candidates."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Users with something to find in the test, and what they are to find.

    Attributes:
        users: rows of the users, int32 ``[n]``.
        histories: everything they did before.
        judgements: new items they engaged with in the test.
        moment: of the request; ``None`` where features know no clock, for want of logged impressions.
        strangers: users of the test who had done nothing before, and are left out.
    """

    users: RowArray
    histories: Histories
    judgements: Judgements
    moment: datetime | None
    strangers: int

    @classmethod
    def of(cls, data: Dataset, split: Split, before: Interactions, logged: bool) -> HeldOut:
        test = Interactions.of(split.test, data.ids, before.users_map)
        everyone = Interactions.of(split.test, data.ids).users_map
        n_items = len(data.ids)
        seen = np.isin(
            test.users.astype(np.int64) * n_items + test.items, before.users.astype(np.int64) * n_items + before.items
        )
        wanted = test.where(~seen).histories()
        users = np.flatnonzero(wanted.lengths > 0)
        strangers = int((before.users_map.rows(everyone.strings) == NO_ROW).sum())
        return cls(
            users.astype(np.int32),
            before.histories().take(users),
            Judgements.of_histories(wanted.take(users)).binary(),
            split.test_from if logged else None,
            strangers,
        )

    def requests(self, rows: RowArray) -> RankingRequests:
        """The users asking for these candidates to be ranked, at the moment the test begins."""
        times = None
        if self.moment is not None:
            times = np.full(len(self.users), int(self.moment.timestamp() * 1000), np.int64)
        return RankingRequests(self.histories, self.users, times, rows)


@dataclass(frozen=True, eq=False)
class Feeds:
    """The feed of every held-out user.

    Attributes:
        lists: by each source alone, fused and ranked, at the depth that is measured.
        fused: all candidates that were ranked, in retrieval order.
        scores: of the ranker, for these.
    """

    lists: dict[str, Candidates]
    fused: Candidates
    scores: FloatArray

    @classmethod
    def answer(cls, held_out: HeldOut, before: Interactions, cascade: Cascade, ranker: Ranker) -> Feeds:
        depth = min(DEPTH, len(before.items_map))
        fused = cascade.retrieve(held_out.histories)
        scores = cascade.score(held_out.requests(fused.rows), ranker)
        ranked = in_order(fused.rows, scores, "ranked")
        alone = {
            name: source.retrieve(held_out.histories, depth)
            for name, source in {"random": RandomSource(len(before.items_map)), **cascade.sources}.items()
            if name in REPORTED or name in cascade.asked
        }
        served = {"fused": to_depth(fused, depth), "ranked": to_depth(ranked, depth)}
        return cls(alone | served, fused, scores)


def feed_table(
    data: Dataset, held_out: HeldOut, before: Interactions, feeds: Feeds, truth: Truth | None
) -> RetrievalTable:
    """Every source on the whole catalogue and on the slices; with a truth, what it would have found."""
    lists = dict(feeds.lists)
    if truth is not None and held_out.moment is not None:
        preference = truth.preference(before.users_map.externals(held_out.users), held_out.moment)
        lists["oracle"] = top_unseen(preference, held_out.histories, min(DEPTH, len(data.ids)), "oracle")
    slices = catalogue_slices(before.item_counts(), data.items["n_images"].to_numpy(), text_characters(data.items))
    results = evaluate_retrieval(lists, held_out.judgements, len(data.ids), slices=slices)
    one_each = bool((np.diff(held_out.judgements.offsets) == 1).all())
    return RetrievalTable(
        title="Feed",
        caption=f"{len(held_out.users):,} users, each asking once; right is a new item they engaged with in the test.",
        main_metric="hr@10" if one_each else "recall@50",
        baseline="popularity",
        oracle="oracle" if "oracle" in lists else None,
        slices={part.name: part.description for part in slices},
        results=results,
    )


def order_table(held_out: HeldOut, feeds: Feeds) -> RankingTable:
    """The same retrieved candidates in retrieval order and in the ranker's order."""
    fused = feeds.fused
    relevant = np.zeros(fused.rows.shape, np.float32)
    for user in range(len(held_out.users)):
        wanted = held_out.judgements.items[held_out.judgements.offsets[user] : held_out.judgements.offsets[user + 1]]
        relevant[user] = np.isin(fused.rows[user], wanted)
    labels = np.where(fused.rows == NO_ROW, NO_LABEL, relevant).astype(np.float32)
    return RankingTable(
        title="Retrieved candidates",
        caption=f"The {fused.rows.shape[1]} candidates of each user, reordered; users none of whose items are among "
        "them are left out.",
        baseline="retrieval order",
        results=evaluate_ranking(
            labels,
            {"retrieval order": fused.scores, "ranker": feeds.scores},
            "retrieval order",
        ),
    )


def slate_tables(
    data: Dataset, split: Split, cascade: Cascade, ranker: Ranker, users_map: IdMap, truth: Truth | None
) -> list[RankingTable]:
    """Slates logged in the test, reordered: graded by what was done and, where it is known, by what was truly liked."""
    history = Interactions.of(pl.concat([split.before_test, split.test]), data.ids, users_map)
    labelled = from_impressions(split.test, history)
    known = labelled.requests.users != NO_ROW
    labelled = labelled.where(known)
    requests = labelled.requests
    positions = np.zeros(requests.rows.shape) if labelled.positions is None else labelled.positions
    systems: dict[str, FloatArray] = {
        "logged order": -positions.astype(np.float32),
        "retrieval order": _fused_within(cascade, requests),
        "ranker": ranker.score(cascade.assembler.assemble(requests)),
    }
    grades: dict[str, tuple[str, FloatArray, tuple[str, ...]]] = {
        "Logged slates": (
            "Slates that were shown in the test, reordered. Grades: click 1, like 2, collect or comment 3, share or "
            "follow 4. Clicks favour the order in which things were shown. "
            f"{int((~known).sum()):,} slates of users who had done nothing before are left out.",
            labelled.labels.astype(np.float32),
            RANKING_METRICS,
        )
    }
    if truth is not None:
        liked = _true_preference(truth, history, requests)
        systems["oracle"] = liked
        grades["Logged slates, by truth"] = (
            "The same slates; the gain of an item is the probability that the user would click it on top.",
            np.where(requests.padded, NO_LABEL, np.log2(1 + liked)).astype(np.float32),  # 2^grade - 1 = the probability
            RANKING_METRICS[:1],  # every item is liked a little: the others would be 1
        )
    users = requests.users.astype(np.int64)
    return [
        RankingTable(
            title=title,
            caption=caption,
            baseline="retrieval order",
            oracle="oracle" if truth is not None else None,
            results=evaluate_ranking(labels, systems, "retrieval order", metrics=metrics, clusters=users),
        )
        for title, (caption, labels, metrics) in grades.items()
    ]


def query_table(
    data: Dataset, tower: ItemTower, tables: dict[str, EmbeddingTable], before: Interactions
) -> RetrievalTable | None:
    """Judged text queries against the catalogue; ``None`` where the data set has none."""
    queries = JudgedQueries.of(data, MOST_QUERIES)
    if not len(queries):
        return None
    vectors = tower.encode_text(queries.texts)
    depth = min(DEPTH, len(data.ids))
    nobody = Histories.of([[]] * len(queries))
    somebody = Histories.of([[row % len(data.ids)] for row in range(len(queries))])  # another order for each query
    lists = {
        "random": RandomSource(len(data.ids)).retrieve(somebody, depth),
        "popularity": PopularitySource(before, PopularityConfig()).retrieve(nobody, depth),
    }
    for read_out, name in (("text", "text-only"), ("image", "image-only"), ("fused", "both")):
        rows, scores = ExactIndex(tables[read_out]).search(vectors, depth)
        lists[name] = Candidates(rows, scores, name)
    return RetrievalTable(
        title="Text search",
        caption=f"{len(queries):,} judged queries; the query's text vector against each read-out of the items.",
        main_metric="ndcg@10",
        baseline="popularity",
        results=evaluate_retrieval(lists, queries.judgements, len(data.ids)),
    )


def protocol(split: Split) -> str:
    """How the events were divided, in words."""
    if split.protocol == TIME and split.label_from is not None and split.test_from is not None:
        return (
            f"Time split: the tower learns from events before {split.label_from:%Y-%m-%d %H:%M}, the ranker from those "
            f"until {split.test_from:%Y-%m-%d %H:%M} (UTC), sources from all of these; all after is the test. Each "
            "user asks once, at the moment the test begins; all items compete, also those published during the test."
        )
    return (
        "Leave-last-out: each user's last engagement is the test, those just before it teach the ranker, the rest the "
        "tower; sources learn from all but the test. All items the user has not engaged with compete."
    )


def to_depth(candidates: Candidates, depth: int) -> Candidates:
    """Exactly ``depth`` candidates a request, padded where there are fewer."""
    missing = ((0, 0), (0, max(0, depth - candidates.rows.shape[1])))
    rows = np.pad(candidates.rows, missing, constant_values=NO_ROW)
    return Candidates(rows, np.pad(candidates.scores, missing, constant_values=-np.inf), candidates.source).top(depth)


def _fused_within(cascade: Cascade, requests: RankingRequests) -> FloatArray:
    """Reciprocal rank fusion of the asked sources' orders of each slate; quotas have nothing to divide there."""
    total = np.zeros(requests.rows.shape, np.float32)
    for name, source in cascade.asked.items():
        scores = np.where(requests.padded, -np.inf, source.score(requests.histories, requests.rows))
        weight = cascade.retrieval.weights.get(name, 1.0)
        total += weight / (RANK_CONSTANT + 1 + competition_ranks(scores.astype(np.float32)))
    return total


def _true_preference(truth: Truth, history: Interactions, requests: RankingRequests) -> FloatArray:
    assert requests.times is not None
    days = requests.times // 86_400_000
    scores = np.zeros(requests.rows.shape, np.float32)
    for day in np.unique(days):
        asked: npt.NDArray[np.int64] = np.flatnonzero(days == day)
        moment = datetime.fromtimestamp(int(requests.times[asked[0]]) / 1000, UTC)
        preference = truth.preference(history.users_map.externals(requests.users[asked]), moment)
        scores[asked] = np.take_along_axis(preference, np.maximum(requests.rows[asked], 0), axis=1)
    return scores
