"""What a ranker would have earned: its slates beside those of an exposure log, request by request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.exceptions import InputError
from experiments.offpolicy.estimators import Estimator
from experiments.offpolicy.logged import LoggedActions
from experiments.offpolicy.value import PolicyValue, policy_values

REQUEST, USER, ITEM, POSITION, PROPENSITY = "request_id", "user_id", "item_id", "position", "propensity"
EVENT = "event_type"
KEY = [REQUEST, POSITION, ITEM]


def would_have_earned(
    exposures: pl.DataFrame,
    events: pl.DataFrame,
    target: pl.DataFrame,
    action: str = "click",
    estimators: Sequence[Estimator] | None = None,
    confidence: float = 0.95,
) -> list[PolicyValue]:
    """Actions per exposure that another ranker would have had, from the log of the one that was served.

    Args:
        exposures: what was shown: ``request_id``, ``position``, ``item_id``, ``user_id`` and ``propensity``, the
            probability with which this item came to stand there.
        events: what followed: ``request_id``, ``item_id``, ``event_type``.
        target: what the other ranker does: ``request_id``, ``position``, ``item_id`` and ``propensity``; what is not
            named it never does.
        action: the event that counts, once an exposure.
        estimators: see :func:`policy_values`.
        confidence: of the intervals, over users.

    Raises:
        InputError: columns are missing, exposures have no propensity, or requests the target says nothing of.
        OverlapError: the log does not hold what the target would do.
    """
    return policy_values(logged_actions(exposures, events, target, action), estimators, confidence)


def logged_actions(
    exposures: pl.DataFrame, events: pl.DataFrame, target: pl.DataFrame, action: str = "click"
) -> LoggedActions:
    """The rows of :func:`would_have_earned`; the unit is the user."""
    _need(exposures, "exposures", [*KEY, USER, PROPENSITY])
    _need(events, "events", [REQUEST, ITEM, EVENT])
    _need(target, "target", [*KEY, PROPENSITY])
    missing = exposures[PROPENSITY].null_count()
    if missing:
        raise InputError(f"{missing} exposures have no propensity.", "Leave them out: nothing can be weighed by them.")
    silent = exposures.join(target, on=REQUEST, how="anti")[REQUEST].n_unique()
    if silent:
        raise InputError(f"The target says nothing of {silent} requests.", "Replay all of them, or leave them out.")
    acted = events.filter(pl.col(EVENT) == action).select(REQUEST, ITEM).unique().with_columns(reward=pl.lit(1.0))
    mine = target.select(*KEY, pl.col(PROPENSITY).alias("target"))
    rows = (
        exposures.select(*KEY, USER, PROPENSITY)
        .join(acted, on=[REQUEST, ITEM], how="left", maintain_order="left")
        .join(mine, on=KEY, how="left", maintain_order="left", validate="m:1")
        .with_columns(pl.col("reward", "target").fill_null(0.0))
    )
    return LoggedActions(
        rows["reward"].to_numpy(),
        rows[PROPENSITY].cast(pl.Float64).to_numpy(),
        rows["target"].cast(pl.Float64).to_numpy(),
        units=np.asarray(rows[USER].rank("dense").to_numpy()),
    )


def _need(table: pl.DataFrame, name: str, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{name} has no column {missing[0]!r}.", f"It has {', '.join(table.columns)}.")
