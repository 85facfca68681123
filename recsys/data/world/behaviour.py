"""What readers do: slates are served day by day, examined from the top, and every action becomes an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys import schemas
from recsys.data.world.clock import DAY_MS, START_MS
from recsys.data.world.notes import Notes
from recsys.data.world.people import People, Requests
from recsys.data.world.policy import draw_slates, feed_policy, search_policy
from recsys.data.world.searches import NO_SEARCH, Search, choose_searches, grades
from recsys.data.world.truth import Truth, sigmoid
from recsys.progress import track
from recsys.types import FloatArray

EXAMINATION_DECAY = 0.6
POPULARITY_MEMORY = 0.9
"""What a click still counts for popularity a day later."""
SEARCH_APPEAL = np.array([-2.0, -0.5, 0.5, 1.5], np.float32)
"""Logits that a grade of 0 to 3 adds to the preference of a reader who has searched."""
HIDE_RATE = 0.04
LOOK_MS = (400, 2_000)


@dataclass(frozen=True)
class Action:
    """What a reader may do after a click.

    Attributes:
        logit: log-odds where the click was an even chance.
        slope: how the log-odds grow with the preference.
        moment: when it happens, as a share of the dwell time.
    """

    logit: float
    slope: float
    moment: float


ACTIONS = {
    "like": Action(-0.7, 0.6, 0.5),
    "collect": Action(-1.4, 0.5, 0.7),
    "comment": Action(-2.8, 0.4, 0.8),
    "share": Action(-3.2, 0.5, 0.85),
    "follow": Action(-3.4, 0.6, 0.9),
}


def examination(positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probability that a reader examines each position: ``(1 + p) ** -EXAMINATION_DECAY``, p = 0 at the top."""
    return np.asarray((1.0 + np.asarray(positions)) ** -EXAMINATION_DECAY)


def simulate(
    rng: np.random.Generator,
    truth: Truth,
    notes: Notes,
    people: People,
    searches: Sequence[Search],
    requests: Requests,
) -> pl.DataFrame:
    """Play the period.

    Within a day, the first request of every reader is served, then the second, and so on; popularity is what was
    clicked before the day. A reader is not shown a note twice a day, nor one clicked before.

    Args:
        rng: source of chance.
        truth: preferences.
        notes: the catalogue.
        people: the readers.
        searches: what they may search for.
        requests: when they come.

    Returns:
        Rows of :data:`recsys.schemas.EVENTS` in order of time.
    """
    relevance = np.stack([grades(search, notes) for search in searches])
    clicked = np.zeros((len(people), len(notes)), np.bool_)
    popularity = np.zeros(len(notes))
    free_at = np.zeros(len(people), np.int64)
    days = (requests.times - START_MS) // DAY_MS
    log = []
    for day in track(np.unique(days), "Simulating days"):
        of_day = np.flatnonzero(days == day)
        midnight = int(START_MS + day * DAY_MS)
        present, who = np.unique(requests.users[of_day], return_inverse=True)
        logits = truth.logits(present, midnight)
        shown = clicked[present]
        clicks_today = np.zeros(len(notes))
        for turn in _turns(who):
            served, local = of_day[turn], who[turn]
            users = requests.users[served]
            at = np.maximum(requests.times[served], free_at[users])
            asked = choose_searches(rng, truth, searches, users, people.language[users], midnight)
            asked[~requests.is_search[served]] = NO_SEARCH
            grade, searching = relevance[asked], asked != NO_SEARCH
            ages = at[:, None] - notes.created_at[None, :]
            policy = feed_policy(rng, logits[local], popularity, ages)
            policy[searching] = search_policy(logits[local][searching], grade[searching], ages[searching])
            policy[shown[local]] = 0
            slate, propensity = draw_slates(rng, policy)
            appeal = np.take_along_axis(logits[local], slate, axis=1)
            appeal[searching] += SEARCH_APPEAL[np.take_along_axis(grade, slate, axis=1)[searching]]
            reaction = _react(rng, appeal, propensity > 0)
            log.append(_events(reaction, served, users, slate, propensity, asked, at))
            free_at[users] = at + reaction.leaves_ms
            shown[local[:, None], slate] = True
            clicked[users[:, None], slate] |= reaction.clicked
            np.add.at(clicks_today, slate[reaction.clicked], 1)
        popularity = POPULARITY_MEMORY * popularity + clicks_today
    return _named(pl.concat(log), truth, searches)


@dataclass(frozen=True, eq=False)
class _Reaction:
    """What n readers do with their slates; times in milliseconds since the request.

    Attributes:
        actions: per event type, where it happens ``[n, SLATE]`` and when.
        clicked: ``[n, SLATE]``.
        dwell_s: seconds after a click, ``[n, SLATE]``.
        leaves_ms: when the reader is done, ``[n]``.
    """

    actions: dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]
    clicked: npt.NDArray[np.bool_]
    dwell_s: FloatArray
    leaves_ms: npt.NDArray[np.int64]


def _turns(who: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Positions of everyone's first request of the day, then of everyone's second, and so on."""
    order = np.argsort(who, kind="stable")
    begins = np.r_[True, who[order][1:] != who[order][:-1]]
    nth = np.arange(len(who)) - np.maximum.accumulate(np.where(begins, np.arange(len(who)), 0))
    return [np.sort(order[nth == turn]) for turn in range(int(nth.max()) + 1)]


def _react(rng: np.random.Generator, appeal: FloatArray, filled: npt.NDArray[np.bool_]) -> _Reaction:
    """Examine, click, dwell and act.

    Args:
        rng: source of chance.
        appeal: log-odds of a click given examination, ``[n, SLATE]``.
        filled: which places of the slate hold an item.
    """

    def happens(probability: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        return rng.random(appeal.shape) < probability

    preference = sigmoid(appeal)
    examined = happens(examination(np.arange(appeal.shape[1]))) & filled
    clicked = examined & happens(preference)
    dwell_s = np.clip(np.exp(rng.normal(2.7 + 0.25 * appeal, 0.6)), 1, 240).astype(np.float32)
    look_ms = np.where(examined, rng.integers(*LOOK_MS, size=appeal.shape), 100)
    spent_ms = look_ms + np.where(clicked, 1000 * dwell_s, 0).astype(np.int64)
    click_ms = np.cumsum(spent_ms, axis=1) - spent_ms + look_ms
    actions = {schemas.IMPRESSION: (filled, np.zeros_like(click_ms)), schemas.CLICK: (clicked, click_ms)}
    for name, action in ACTIONS.items():
        acts = clicked & happens(sigmoid(action.logit + action.slope * appeal))
        actions[name] = (acts, click_ms + (1000 * action.moment * dwell_s).astype(np.int64))
    actions["hide"] = (examined & ~clicked & happens(HIDE_RATE * (1 - preference) ** 2), click_ms)
    actions["dwell"] = (clicked, click_ms + (1000 * dwell_s).astype(np.int64))
    return _Reaction(actions, clicked, dwell_s, spent_ms.sum(axis=1) + 1000)


def _events(
    reaction: _Reaction,
    requests: npt.NDArray[np.int64],
    users: npt.NDArray[np.int64],
    slate: npt.NDArray[np.int64],
    propensity: FloatArray,
    asked: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
) -> pl.DataFrame:
    """One row per action, people and things still as row numbers."""
    frames = []
    for event_type, (where, after_ms) in reaction.actions.items():
        request, position = np.nonzero(where)
        frames.append(
            pl.DataFrame(
                {
                    schemas.REQUEST_ID: requests[request],
                    schemas.USER_ID: users[request],
                    schemas.ITEM_ID: slate[where],
                    schemas.QUERY: asked[request],
                    schemas.POSITION: position.astype(np.int32),
                    schemas.EVENT_TYPE: pl.repeat(event_type, len(request), eager=True),
                    schemas.VALUE: reaction.dwell_s[where] if event_type == "dwell" else np.full(len(request), np.nan),
                    schemas.TIMESTAMP: at[request] + after_ms[where],
                    schemas.PROPENSITY: propensity[where],
                },
                schema_overrides={schemas.VALUE: pl.Float32},
            )
        )
    return pl.concat(frames)


def _named(log: pl.DataFrame, truth: Truth, searches: Sequence[Search]) -> pl.DataFrame:
    """Put external ids, scenes and query texts in the place of row numbers, in order of time."""
    users, items = (pl.Series(ids.strings) for ids in (truth.users, truth.items))
    texts = pl.Series([search.text for search in searches])
    ordered = log.sort(schemas.TIMESTAMP, schemas.REQUEST_ID, schemas.POSITION, maintain_order=True)
    query = ordered[schemas.QUERY]
    found = query != NO_SEARCH
    named = ordered.with_columns(
        pl.format("r{}", pl.col(schemas.REQUEST_ID).cast(pl.String).str.zfill(7)).alias(schemas.REQUEST_ID),
        users.gather(ordered[schemas.USER_ID]).alias(schemas.USER_ID),
        items.gather(ordered[schemas.ITEM_ID]).alias(schemas.ITEM_ID),
        pl.when(found).then(pl.lit("search")).otherwise(pl.lit("feed")).alias(schemas.SCENE),
        pl.when(found).then(texts.gather(query.clip(0))).alias(schemas.QUERY),
        pl.col(schemas.VALUE).fill_nan(None),
        pl.col(schemas.TIMESTAMP).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
    )
    columns = pl.DataFrame(pl.from_arrow(schemas.EVENTS.empty_table()))
    return pl.concat([columns, named], how="diagonal")
