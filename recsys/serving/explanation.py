"""Explanation: which sources brought an item to a user and by which neighbours, or at which step it was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from recsys.ranking.retrieved import merge
from recsys.retrieval.base import CandidateSource, Neighbour
from recsys.retrieval.fusion import Fused
from recsys.serving.cascade import Cascade
from recsys.types import Candidates, Histories, IdMap, ItemId


class Outcome(StrEnum):
    """Where the way of an item through the cascade ends."""

    SHOWN = "shown"
    SEEN = "seen before"
    NOT_INDEXED = "not indexed"
    NOT_FOUND = "not found"
    NOT_MERGED = "merged out"
    RANKED_LOW = "ranked too low"
    TOO_ALIKE = "too much like others"


@dataclass(frozen=True)
class Evidence:
    """One of the user's recent items that led a source to the item.

    Attributes:
        item_id: of the recent item.
        title: of it.
        age: engagements since then, 0 = the newest.
        similarity: of the two items, as the source measures it: a cosine, a count, a weight.
        contribution: its part in the source's score; ``None`` where the score is no sum over recent items.
    """

    item_id: ItemId
    title: str
    age: int
    similarity: float
    contribution: float | None


@dataclass(frozen=True)
class View:
    """What one source makes of the item.

    Attributes:
        source: its name.
        asked: whether it proposes candidates; the ranker hears the others, too.
        score: that it gives, 0 without evidence.
        rank: among all items the user has not engaged with, 1 = the best; ``None`` without evidence.
        cut_off: how many it proposes.
        place: in its list of candidates, 1 = the best; ``None`` where it is not among them.
        missed: whether an approximate index has missed what exact search would have proposed.
        evidence: the strongest first.
    """

    source: str
    asked: bool
    score: float
    rank: int | None
    cut_off: int
    place: int | None
    missed: bool
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Explanation:
    """The way of one item through the cascade, for one user; places count from 1.

    Attributes:
        item_id: the item.
        title: of it.
        outcome: where the way ends.
        views: of all sources, those that propose first.
        fused: place in the merged list; ``None`` where no source proposed it.
        candidates: how many of the merged list are ranked.
        ranked: place in the ranker's order; ``None`` without a ranker, or where it was not ranked.
        score: of the ranker; likewise.
        final: place after variety was seen to; ``None`` where it was not ranked.
        slate: length of the slate.
        since: engagements since the user engaged with it, 0 = it was the last; ``None`` where they did not.
        added: what each of the strongest features adds to the ranker's score of an average candidate, by its name.
    """

    item_id: ItemId
    title: str
    outcome: Outcome
    views: tuple[View, ...]
    fused: int | None
    candidates: int
    ranked: int | None
    score: float | None
    final: int | None
    slate: int
    since: int | None
    added: Mapping[str, float] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The outcome in a sentence, with the figures that decided it."""
        order = f"The ranker puts it at {self.ranked}" if self.ranked is not None else f"Fusion puts it at {self.fused}"
        match self.outcome:
            case Outcome.SHOWN:
                return f"It is number {self.final} of {self.slate} on the slate."
            case Outcome.SEEN:
                return f"The user has engaged with it ({self.since} engagements since), and is not shown it again."
            case Outcome.NOT_INDEXED:
                return "It has no vector: the tower reads neither text nor picture of it. No other source found it."
            case Outcome.NOT_FOUND:
                return f"No source proposes it: {self._nearest_miss()}."
            case Outcome.NOT_MERGED:
                return f"Fusion puts it at {self.fused}, and only the first {self.candidates} go on to be ranked."
            case Outcome.RANKED_LOW:
                return f"{order}, variety at {self.final}; the slate holds {self.slate}."
            case Outcome.TOO_ALIKE:
                return f"{order}, but it is too much like what stands above it: variety puts it at {self.final}."

    def _nearest_miss(self) -> str:
        asked = [view for view in self.views if view.asked and view.rank is not None]
        if not asked:
            return "none has any evidence for it"
        nearest = min(asked, key=lambda view: (view.rank or 0) / view.cut_off)
        return f"{nearest.source} comes nearest, with rank {nearest.rank} where it proposes {nearest.cut_off}"


def explain(
    cascade: Cascade,
    history: Histories,
    found: Fused,
    ranked: Candidates,
    row: int,
    size: int,
    ids: IdMap,
    titles: Sequence[str],
) -> Explanation:
    """Follow an item through the request of one user.

    Args:
        cascade: that answered.
        history: of the user.
        found: what was retrieved for them.
        ranked: the same in the ranker's order; ``found`` itself where there is no ranker.
        row: of the item.
        size: of the slate.
        ids: of the catalogue.
        titles: of it, by row.
    """
    views = sorted(
        (_view(cascade, source, history, found, row, ids, titles) for source in cascade.sources.values()),
        key=lambda view: (not view.asked, view.place is None, view.place or 0),
    )
    everything = merge(found.lists, cascade.retrieval, sum(candidates.rows.shape[1] for candidates in found.lists))
    standing, order = _place(ranked, row), cascade.slate(ranked, 0, ranked.rows.shape[1]).kept
    fused, final = _place(everything, row), _first(order == row)
    since = _first(history[0][::-1] == row)
    if since is not None:
        outcome = Outcome.SEEN
    elif fused is None:
        outcome = Outcome.NOT_FOUND if cascade.table.vectors[row].any() else Outcome.NOT_INDEXED
    elif standing is None or final is None:
        outcome = Outcome.NOT_MERGED
    elif final <= size:
        outcome = Outcome.SHOWN
    else:
        outcome = Outcome.TOO_ALIKE if standing <= size else Outcome.RANKED_LOW
    by_ranker = standing is not None and ranked is not found
    return Explanation(
        item_id=ItemId(ids[row]),
        title=titles[row],
        outcome=outcome,
        views=tuple(views),
        fused=fused,
        candidates=cascade.retrieval.candidates,
        ranked=standing if by_ranker else None,
        score=float(ranked.scores[0, standing - 1]) if standing is not None and by_ranker else None,
        final=final,
        slate=size,
        since=None if since is None else since - 1,
    )


def _view(
    cascade: Cascade,
    source: CandidateSource,
    history: Histories,
    found: Fused,
    row: int,
    ids: IdMap,
    titles: Sequence[str],
) -> View:
    asked, cut_off = source.name in cascade.asked, cascade.retrieval.per_source
    place = next((_place(candidates, row) for candidates in found.lists if candidates.source == source.name), None)
    scores = source.score(history, np.arange(len(ids), dtype=np.int32)[None])[0]
    rank = _rank(scores, history, row)
    return View(
        source=source.name,
        asked=asked,
        score=float(scores[row]),
        rank=rank,
        cut_off=cut_off,
        place=place,
        missed=asked and place is None and rank is not None and rank <= cut_off and row not in history[0],
        evidence=tuple(_named(neighbour, ids, titles) for neighbour in source.evidence(history, row)),
    )


def _rank(scores: np.ndarray, history: Histories, row: int) -> int | None:
    """Place of an item among those that could be proposed: unseen, with evidence, ties to the lower row."""
    if scores[row] == 0:
        return None
    rivals = scores != 0
    rivals[history[0]] = False
    better = (scores > scores[row]) | ((scores == scores[row]) & (np.arange(len(scores)) < row))
    return int((rivals & better).sum()) + 1


def _named(neighbour: Neighbour, ids: IdMap, titles: Sequence[str]) -> Evidence:
    item, title = ItemId(ids[neighbour.row]), titles[neighbour.row]
    return Evidence(item, title, neighbour.age, neighbour.similarity, neighbour.contribution)


def _place(candidates: Candidates, row: int) -> int | None:
    return _first(candidates.rows[0] == row)


def _first(matches: np.ndarray) -> int | None:
    """Place of the first match, counted from 1."""
    return int(matches.argmax()) + 1 if matches.any() else None
