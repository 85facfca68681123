"""The readers: what each likes at the beginning and at the end of the period, when they join, how often they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.world.clock import DAY_MS, START_MS
from recsys.data.world.intents import INTENTS
from recsys.data.world.notes import topic_popularity
from recsys.data.world.palettes import PALETTES
from recsys.data.world.styles import STYLES
from recsys.data.world.topics import LANGUAGES, SUBTOPICS

DRIFT = 0.5
"""Share of a taste that is replaced by another between the first and the last day."""
SHARE_JOINING = 0.2
"""Share of the readers who join during the period; the last of them are cold."""
ACTIVITY_SPREAD = 0.8
REQUESTS_PER_SESSION = 1.9
BUSY_HOURS = (0, 0, 0, 0, 0, 0, 1, 3, 4, 3, 3, 4, 6, 5, 3, 3, 3, 4, 6, 8, 10, 11, 8, 0)
"""How often a session begins in each hour of the day (UTC)."""
PAUSE_MS = 40_000
SHARE_OF_SEARCH = 0.12

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Liking:
    """How tastes over one kind of attribute are drawn: a few favourites, the rest left cold.

    Attributes:
        strengths: logits of the favourites, best first.
        other: logits of everything else.
    """

    strengths: tuple[float, ...]
    other: float


TOPIC = Liking((2.0, 1.6, 1.2), -1.5)
INTENT = Liking((1.4, 1.0), -0.8)
STYLE = Liking((1.8, 1.3), -1.0)
PALETTE = Liking((1.8, 1.3), -1.0)
SUBTOPIC_SPREAD = 0.6
AUTHOR_SPREAD = 0.3


@dataclass(frozen=True, eq=False)
class People:
    """n readers.

    Attributes:
        start: tastes on the first day in logits, float32 ``[n, width]``; columns as in
            :class:`recsys.data.world.truth.Truth`.
        end: tastes at the end of the last day.
        joined_at: int64 ``[n]``, milliseconds since 1970.
        activity: relative number of sessions, ``[n]``; long-tailed.
        language: which language each searches in, position in ``LANGUAGES``, ``[n]``.
    """

    start: FloatArray
    end: FloatArray
    joined_at: npt.NDArray[np.int64]
    activity: npt.NDArray[np.float64]
    language: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)


def draw_people(rng: np.random.Generator, n_users: int, n_authors: int, n_days: int) -> People:
    """Invent readers.

    Args:
        rng: source of chance.
        n_users: number of readers.
        n_authors: number of authors, each of whom a reader may like more or less.
        n_days: length of the period.
    """
    joins = rng.random(n_users) < SHARE_JOINING
    joined_day = np.where(joins, rng.uniform(0, n_days, n_users), rng.uniform(-365, 0, n_users))
    start = _tastes(rng, n_users, n_authors)
    end = (1 - DRIFT) * start + DRIFT * _tastes(rng, n_users, n_authors)
    return People(
        start=start,
        end=end.astype(np.float32),
        joined_at=(START_MS + joined_day * DAY_MS).astype(np.int64),
        activity=rng.lognormal(0, ACTIVITY_SPREAD, n_users),
        language=rng.choice(len(LANGUAGES), n_users, p=(0.6, 0.4)),
    )


@dataclass(frozen=True, eq=False)
class Requests:
    """When readers come, in order of time; every array is ``[n]``.

    Attributes:
        users: reader rows.
        times: planned moments, milliseconds since 1970.
        is_search: whether the reader types a query instead of scrolling the feed.
    """

    users: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    is_search: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)


def draw_requests(rng: np.random.Generator, people: People, n_requests: int, n_days: int) -> Requests:
    """Sessions of a few requests each, about ``n_requests`` in all, never before the reader joined."""
    first_day = np.clip(np.ceil((people.joined_at - START_MS) / DAY_MS), 0, n_days).astype(np.int64)
    weight = people.activity * (n_days - first_day)
    n_sessions = max(1, round(n_requests / REQUESTS_PER_SESSION))
    user = rng.choice(len(people), n_sessions, p=weight / weight.sum())
    day = first_day[user] + (rng.random(n_sessions) * (n_days - first_day[user])).astype(np.int64)
    hours = np.array(BUSY_HOURS, dtype=np.float64)
    hour = rng.choice(24, n_sessions, p=hours / hours.sum()) + rng.random(n_sessions)
    begin = START_MS + day * DAY_MS + (hour * DAY_MS / 24).astype(np.int64)
    length = 1 + rng.poisson(REQUESTS_PER_SESSION - 1, n_sessions)
    nth = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    time = np.repeat(begin, length) + nth * PAUSE_MS
    order = np.argsort(time, kind="stable")
    is_search = rng.random(len(order)) < SHARE_OF_SEARCH
    return Requests(np.repeat(user, length)[order], time[order], is_search)


def _tastes(rng: np.random.Generator, n_users: int, n_authors: int) -> FloatArray:
    topics = _favourites(rng, n_users, TOPIC, topic_popularity())
    parts = rng.normal(0, SUBTOPIC_SPREAD, (n_users, len(SUBTOPICS)))
    intents, styles, palettes = (
        _favourites(rng, n_users, liking, np.full(n_kinds, 1 / n_kinds))
        for liking, n_kinds in ((INTENT, len(INTENTS)), (STYLE, len(STYLES)), (PALETTE, len(PALETTES)))
    )
    authors = rng.normal(0, AUTHOR_SPREAD, (n_users, n_authors))
    return np.concatenate([topics, parts, intents, styles, palettes, authors], axis=1).astype(np.float32)


def _favourites(
    rng: np.random.Generator, n_users: int, liking: Liking, popularity: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    keys = np.log(popularity) + rng.gumbel(size=(n_users, len(popularity)))
    best = np.argsort(-keys, axis=1)[:, : len(liking.strengths)]
    tastes = np.full(keys.shape, liking.other)
    np.put_along_axis(tastes, best, np.broadcast_to(liking.strengths, best.shape), axis=1)
    return tastes
