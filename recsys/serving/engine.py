"""Engine: answers feed, search and related requests in process, from what the offline jobs made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.embeddings.encode import open_tables
from recsys.embeddings.sight import seen_by
from recsys.exceptions import ArtifactError, ConfigError, FingerprintMismatchError
from recsys.features.requests import RankingRequests
from recsys.index.generation import IndexGeneration
from recsys.index.handle import IndexHandle, ServedIndex
from recsys.index.selection import Selection
from recsys.ranking.lightgbm_ranker import LightGBMRanker
from recsys.retrieval.filters import Filter, matching
from recsys.retrieval.fusion import Fused
from recsys.retrieval.hybrid import DENSE, HybridConfig, hybrid_search
from recsys.retrieval.lexical import LexicalIndex
from recsys.serving.cascade import Cascade, CascadeConfig
from recsys.serving.explanation import Explanation, explain
from recsys.towers.abilities import Matching
from recsys.towers.base import ItemBatch
from recsys.towers.families import open_tower
from recsys.towers.rerank import rerank_by_match
from recsys.towers.tower import Tower
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, IdMap, Image, ItemId, RowArray, UserId

RERANKED = 32
"""How many search results a tower that can judge pairs looks at again."""
FEATURES_TOLD = 8
"""How many features an explanation names."""


@dataclass(frozen=True)
class Answer:
    """One item of a slate: what it is, how it scored, and in one phrase why it is there."""

    item_id: ItemId
    title: str
    score: float
    why: str


@dataclass(frozen=True)
class EnginePaths:
    """Directories of the artifacts an engine is made of.

    Without a ranker a feed keeps the retrieval order; without a lexical index a text is searched by its vector alone.
    """

    dataset: Path
    tower: Path
    embeddings: Path
    index: Path  # folder of the index generations, of which the one in use is opened
    ranker: Path | None
    width: int | None  # of the vectors; ``None`` for all that the tower has
    user_tower: Path | None  # that the ranker hears
    logged: bool  # whether the ranker learned from impressions, see :func:`recsys.serving.cascade.is_logged`
    lexical: Path | None = None


class Engine:
    """Tower, index generation and cascade, opened together and checked to belong together.

    Args:
        paths: the artifacts.
        config: of the cascade; the one the ranker was trained with.
        hybrid: how text search puts words and vectors together.

    Raises:
        FingerprintMismatchError: the index was built with another tower.
        ArtifactError: the index holds other items than the data set, or the ranker expects other features.
    """

    def __init__(self, paths: EnginePaths, config: CascadeConfig, hybrid: HybridConfig | None = None) -> None:
        self.paths = paths
        self.config = config
        self.hybrid = hybrid or HybridConfig()
        self.data = Dataset(paths.dataset)
        self.tower: Tower = open_tower(paths.tower, paths.width)
        self._index = IndexHandle(ArtifactStore(paths.index.parent), paths.index.name)
        self._check(self.generation)
        self.lexical = LexicalIndex.open(paths.lexical) if paths.lexical is not None else None

    @property
    def generation(self) -> IndexGeneration:
        """The index generation in use here."""
        return self._index.served.generation

    def refresh(self) -> bool:
        """Take up the index generation in use in the home folder, while requests are answered: each by one generation.

        Returns:
            Whether it was another one.

        Raises:
            FingerprintMismatchError: it was built with another tower; the engine goes on with the one it has.
            ArtifactError: it is damaged, or holds other items; likewise.
        """
        return self._index.refresh(self._check)

    def _check(self, generation: IndexGeneration) -> None:
        if generation.fingerprint != self.tower.fingerprint:
            raise FingerprintMismatchError(generation.fingerprint, self.tower.fingerprint)
        if not generation.ids.strings.equals(self.data.ids.strings):
            raise ArtifactError(
                f"The index generation in use holds {len(generation.ids)} items, not the {len(self.data.ids)} here.",
                "Open an engine over the data set that it was built from.",
            )

    def search(
        self, text: str | None, image: Image | None, k: int, rerank: bool = False, where: Filter | None = None
    ) -> list[Answer]:
        """The k items that fit a text, a picture, or both at once.

        Both make one vector: the one that an item with this text and this picture would have.

        Args:
            text: see :meth:`search_text`.
            image: the picture.
            k: how many.
            rerank: see :meth:`search_text`; of a text alone.
            where: what the items must satisfy, see :func:`recsys.retrieval.filters.parse_filter`.

        Raises:
            ConfigError: there is neither, re-ranking is asked for with a picture, or see :meth:`search_text`.
        """
        if text is not None and image is None:
            return self.search_text(text, k, rerank, where)
        if image is None:
            raise ConfigError("There is nothing to search for.", "Give a text, a picture (--image FILE), or both.")
        if rerank:
            raise ConfigError("Only what a text finds is looked at again.", "Search without the picture, or as it is.")
        if text is None:
            return self.search_image(image, k, where)
        if not text.strip():
            raise ConfigError("The search text is blank.", "Give a few words, or the picture alone.")
        vector = self.tower.encode_items(ItemBatch([text], [image]))["fused"]
        return self._nearest(vector, k, "close to the text and the picture", self._selection(where))

    def search_text(self, text: str, k: int, rerank: bool = False, where: Filter | None = None) -> list[Answer]:
        """The k items that share words with a text or are near to its vector.

        Words and vectors are fused, and each answer says where they placed it, such as ``words #2, dense #5``.
        Re-ranked, or without a lexical index, only the vectors are asked.

        Args:
            text: the query.
            k: how many.
            rerank: whether the tower looks at the first of them again, text and picture together.
            where: what the items must satisfy.

        Raises:
            ConfigError: the text is blank, or the tower cannot judge text and picture together.
        """
        if not text.strip():
            raise ConfigError("The search text is blank.", "Give a few words.")
        vector, selection = self.tower.encode_text([text]), self._selection(where)
        if not rerank:
            return self._hybrid(text, vector, k, selection)
        if not isinstance(self.tower, Matching):
            raise ConfigError(
                f"A {self.tower.family} tower does not judge text and picture together.",
                "Search without re-ranking, or train one that does: `recsys train-tower --family blip`.",
            )
        rows, cosines = self.generation.search(vector, max(k, RERANKED), self.tower.fingerprint, selection)
        found = rows[0] != NO_ROW
        rows, cosines = rows[0][found], cosines[0][found]
        looked_at = slice(0, RERANKED)
        pictures = seen_by(self.tower, self.data, rows[looked_at].tolist())
        scores = rerank_by_match(self.tower, text, pictures, cosines[looked_at])
        order = np.argsort(-scores, kind="stable")
        rows = np.concatenate([rows[looked_at][order], rows[RERANKED:]])
        scores = np.concatenate([scores[order], scores.min(initial=0) - 1 + cosines[RERANKED:]])
        return self._answers(rows[:k], scores[:k], ["fits the text, picture and all"] * k)

    def search_image(self, image: Image, k: int, where: Filter | None = None) -> list[Answer]:
        """The k items nearest to a picture, among those that satisfy a filter."""
        return self._nearest(self.tower.encode_image([image]), k, "close to the picture", self._selection(where))

    def related(self, item: ItemId, k: int, where: Filter | None = None) -> list[Answer]:
        """The k items nearest to an item, itself left out.

        Args:
            item: the item.
            k: how many.
            where: what the others must satisfy.

        Raises:
            ConfigError: there is no such item.
        """
        row, generation = self._row(item), self.generation
        vector = np.asarray(generation.table.vectors[row : row + 1])
        rows, scores = generation.search(vector, k + 1, generation.fingerprint, self._selection(where))
        others = rows[0] != row
        return self._answers(rows[0][others][:k], scores[0][others][:k], [f"close to {item}"] * k)

    def feed(self, user: UserId, k: int, now: datetime | None = None) -> list[Answer]:
        """A slate of k items for a user: retrieved, ranked, made diverse.

        Args:
            user: the user; one nobody has met gets what is popular.
            k: length of the slate.
            now: moment of the request; default: just after the last event.
        """
        _, found, ranked = self._ranked(user, now)
        slate = self._cascade.slate(ranked, 0, k)
        score_of = dict(zip(ranked.rows[0].tolist(), ranked.scores[0].tolist(), strict=True))
        scores = np.array([score_of[int(item)] for item in slate.kept], np.float32)
        return self._answers(slate.kept, scores, [_found_by(found, int(item)) for item in slate.kept])

    def explain(self, user: UserId, item: ItemId, k: int, now: datetime | None = None) -> Explanation:
        """Why an item is, or is not, in the feed that :meth:`feed` makes.

        Args:
            user: whose feed.
            item: which item.
            k: length of the slate.
            now: moment of the request; default: just after the last event.

        Raises:
            ConfigError: there is no such user or item.
        """
        row, users = self._row(item), self._interactions.users_map
        if users.row(user) == NO_ROW:
            example = f"User ids look like {users[0]!r}." if len(users) else "The data set has none."
            raise ConfigError(f"There is no user {user!r}.", example)
        requests, found, ranked = self._ranked(user, now)
        titles = [title or "" for title in self.data.items[schemas.TITLE]]
        way = explain(self._cascade, requests.histories, found, ranked, row, k, self.data.ids, titles)
        return way if way.score is None else replace(way, added=self._added(requests, row))

    def _added(self, requests: RankingRequests, row: int) -> dict[str, float]:
        """What the features that weigh most add to the score of one candidate of the only request."""
        assert self._ranker is not None
        place = requests.rows[0].tolist().index(row)
        features = self._cascade.assembler.assemble(requests)[:, place : place + 1]  # some look at all candidates
        added = self._ranker.contributions(features)[0, 0, :-1]
        strongest = np.argsort(-np.abs(added), kind="stable")[:FEATURES_TOLD]
        return {self._ranker.names[feature]: float(added[feature]) for feature in strongest}

    def _ranked(self, user: UserId, now: datetime | None) -> tuple[RankingRequests, Fused, Candidates]:
        """What a user asks, what is found for them, and that in the ranker's order, if there is a ranker."""
        row, histories = self._interactions.users_map.row(user), self._interactions.histories()
        history = histories.slice(row, row + 1) if row != NO_ROW else Histories.of([[]])
        found = self._cascade.retrieve(history)
        moment = np.array([self._milliseconds(now)], np.int64) if self.paths.logged else None
        requests = RankingRequests(history, np.array([row], np.int32), moment, found.rows)
        return requests, found, found if self._ranker is None else self._cascade.rank(requests, self._ranker)

    def recent(self, user: UserId, count: int) -> list[ItemId]:
        """What the user engaged with last, newest first."""
        row = self._interactions.users_map.row(user)
        if row == NO_ROW:
            return []
        return [ItemId(item) for item in self.data.ids.externals(self._interactions.histories()[row][::-1][:count])]

    @cached_property
    def _interactions(self) -> Interactions:
        users = pl.concat([self.data.events[schemas.USER_ID], self.data.users[schemas.USER_ID]])
        return Interactions.of(self.data.events, self.data.ids, IdMap.of(users.unique().sort()))

    @cached_property
    def _cascade(self) -> Cascade:
        tables, events = open_tables(self.paths.embeddings), self.data.events
        users = self._interactions.users_map
        logged, index = self.paths.logged, ServedIndex(self._index)
        tower = self.paths.user_tower
        return Cascade.fit(self.data, events, events, users, tables, self.config, logged, index, tower)

    @cached_property
    def _ranker(self) -> LightGBMRanker | None:
        return LightGBMRanker.load(self.paths.ranker, self._cascade.assembler.names) if self.paths.ranker else None

    def _milliseconds(self, now: datetime | None) -> int:
        last = self.data.events[schemas.TIMESTAMP].dt.epoch("ms").max()
        return int(now.astimezone(UTC).timestamp() * 1000) if now else int(str(last)) + 1

    def _row(self, item: ItemId) -> int:
        row = self.data.ids.row(item)
        if row != NO_ROW:
            return row
        of_item, of_user = (
            pl.col(schemas.RECORD).str.json_path_match(f"$.{name}") for name in (schemas.ITEM_ID, schemas.USER_ID)
        )
        rejected = self.data.rejected.filter(of_item == item, of_user.is_null())
        if rejected.is_empty():
            raise ConfigError(f"There is no item {item!r}.", f"Item ids look like {self.data.ids[0]!r}.")
        file, at, reason = rejected.select(schemas.FILE, schemas.ROW, schemas.REASON).row(0)
        raise ConfigError(
            f"There is no item {item!r}: row {at} of {file} was rejected ({reason}).", "Correct it, and ingest again."
        )

    def _selection(self, where: Filter | None) -> Selection | None:
        return Selection(matching(where, self.data.items)) if where is not None else None

    def _hybrid(self, text: str, vector: FloatArray, k: int, selection: Selection | None) -> list[Answer]:
        if self.lexical is None:
            return self._nearest(vector, k, "close to the text", selection)
        depth = max(k, self.hybrid.depth)
        dense = Candidates(*self.generation.search(vector, depth, self.tower.fingerprint, selection), DENSE)
        words = self.lexical.candidates([text], depth, selection)
        found = hybrid_search(words, dense, k, self.hybrid.share)
        return self._answers(found.rows[0], found.scores[0], [_found_by(found, int(row)) for row in found.rows[0]])

    def _nearest(self, vectors: FloatArray, k: int, why: str, selection: Selection | None) -> list[Answer]:
        rows, scores = self.generation.search(vectors, k, self.tower.fingerprint, selection)
        return self._answers(rows[0], scores[0], [why] * k)

    def _answers(self, rows: RowArray, scores: FloatArray, why: list[str]) -> list[Answer]:
        titles = self.data.items[schemas.TITLE]
        return [
            Answer(ItemId(self.data.ids[row]), titles[int(row)] or "", float(score), reason)
            for row, score, reason in zip(rows, scores, why, strict=False)
            if row != NO_ROW
        ]


def _found_by(found: Fused, row: int) -> str:
    """The two sources that place an item highest, such as ``dense #2, item-knn #9``."""
    return ", ".join(f"{origin.source} #{origin.rank}" for origin in found.origins(0, row)[:2])
