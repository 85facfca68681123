"""Labelled requests from logged impressions: what was shown together, in which order, and what came of it."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.exceptions import DataError
from recsys.features.requests import RankingRequests
from recsys.ranking.training_set import PAD, LabelledRequests, pad_groups
from recsys.types import NO_ROW

HIGHEST_GRADE = 4


def from_impressions(events: pl.DataFrame, history: Interactions, scene: str = "feed") -> LabelledRequests:
    """One request per logged ``request_id``, candidates by position; grade = the strongest action's weight, at most 4.

    A request happens at its first impression; histories are what the user did strictly before. Requests where nothing
    was engaged with, or everything equally, teach no order and are dropped, counted.

    Args:
        events: rows of :data:`recsys.schemas.EVENTS` to learn from.
        history: positive interactions up to the end of ``events``, and the maps of items and users.
        scene: only requests of this scene (features know no query yet).

    Raises:
        DataError: there are no impressions with request ids and timestamps.
    """
    weights = {action: min(weight, HIGHEST_GRADE) for action, weight in schemas.ACTION_WEIGHTS.items()}
    logged = events.filter(pl.col(schemas.REQUEST_ID).is_not_null(), pl.col(schemas.SCENE) == scene)
    shown = (
        logged.filter(pl.col(schemas.EVENT_TYPE) == schemas.IMPRESSION, pl.col(schemas.TIMESTAMP).is_not_null())
        .group_by(schemas.REQUEST_ID, schemas.ITEM_ID)
        .agg(pl.col(schemas.USER_ID).first(), pl.col(schemas.POSITION).min(), pl.col(schemas.TIMESTAMP).min())
    )
    if shown.is_empty():
        raise DataError(
            f"There are no impressions of scene {scene!r} with a request id and a timestamp.",
            "Learn from retrieved candidates instead.",
        )
    grades = (
        logged.filter(pl.col(schemas.EVENT_TYPE).is_in(list(weights)))
        .with_columns(pl.col(schemas.EVENT_TYPE).replace_strict(weights, return_dtype=pl.Float32).alias(schemas.GRADE))
        .group_by(schemas.REQUEST_ID, schemas.ITEM_ID)
        .agg(pl.col(schemas.GRADE).max())
    )
    rows = history.items_map.rows(shown[schemas.ITEM_ID])
    candidates = shown.with_columns(pl.Series(schemas.ROW, rows)).join(
        grades, on=[schemas.REQUEST_ID, schemas.ITEM_ID], how="left"
    )
    dropped = {"impressions of unknown items (candidates)": int((rows == NO_ROW).sum())}
    now = pl.col(schemas.TIMESTAMP).min().over(schemas.REQUEST_ID)
    grade = pl.col(schemas.GRADE).fill_null(0)
    informative = grade.n_unique().over(schemas.REQUEST_ID) > 1
    candidates = (
        candidates.filter(pl.col(schemas.ROW) != NO_ROW)
        .with_columns(now, grade, informative.alias("informative"))
        .sort(schemas.TIMESTAMP, schemas.REQUEST_ID, schemas.POSITION, schemas.ITEM_ID)
    )
    total = candidates[schemas.REQUEST_ID].n_unique()
    candidates = candidates.filter("informative")
    group = candidates[schemas.REQUEST_ID].rle_id().to_numpy().astype(np.int64)
    heads = candidates.unique(schemas.REQUEST_ID, keep="first", maintain_order=True)
    n = len(heads)
    dropped["requests without a difference in outcome"] = total - n
    users = history.users_map.rows(heads[schemas.USER_ID])
    times = heads[schemas.TIMESTAMP].dt.epoch("ms").to_numpy().astype(np.int64)

    def padded(column: str, fill: int) -> np.ndarray:
        return pad_groups(group, candidates[column].fill_null(0).to_numpy().astype(np.int64), n, fill)

    requests = RankingRequests(
        history.histories_before(users, times, max(len(history), 1)),
        users,
        times,
        padded(schemas.ROW, NO_ROW).astype(np.int32),
    )
    return LabelledRequests(
        requests,
        padded(schemas.GRADE, PAD).astype(np.int8),
        padded(schemas.POSITION, PAD).astype(np.int32),
        "impressions",
        dropped,
    )


def latest(labelled: LabelledRequests, share: float) -> np.ndarray:
    """Which requests are the latest ``share`` of all, bool ``[n]``: the ranker's validation set.

    Args:
        labelled: requests with times.
        share: of the requests, in (0, 1).
    """
    times = labelled.requests.times
    if times is None:
        raise DataError("These requests have no times.", "Validate on each user's last request instead.")
    return np.asarray(times >= np.quantile(times, 1 - share))
