import numpy as np
import polars as pl
import pytest

from experiments.exceptions import InputError
from experiments.offpolicy.replay import would_have_earned

APPEAL = {"a": 0.6, "b": 0.3, "c": 0.1}


def log(n, seed):
    """One place, three items drawn at random: b half of the time."""
    g = np.random.default_rng(seed)
    propensities = {"a": 0.25, "b": 0.5, "c": 0.25}
    items = g.choice(list(propensities), size=n, p=list(propensities.values()))
    requests = [f"r{row}" for row in range(n)]
    exposures = pl.DataFrame(
        {
            "request_id": requests,
            "user_id": [f"u{row // 2}" for row in range(n)],
            "item_id": items,
            "position": 0,
            "propensity": [propensities[item] for item in items],
        }
    )
    clicked = g.random(n) < np.array([APPEAL[item] for item in items])
    events = exposures.filter(clicked).select("request_id", "item_id", event_type=pl.lit("click"))
    twice = pl.concat([events, events, events.with_columns(event_type=pl.lit("like"))])  # a click counts once
    return exposures, twice


def of_policy(exposures, policy):
    return pl.concat(
        exposures.select("request_id", "position").with_columns(item_id=pl.lit(item), propensity=pl.lit(share))
        for item, share in policy.items()
    )


def test_a_ranker_is_worth_what_it_shows():
    exposures, events = log(8000, 0)
    for policy in ({"a": 1.0}, {"a": 0.5, "c": 0.5}):
        truth = sum(share * APPEAL[item] for item, share in policy.items())
        for value in would_have_earned(exposures, events, of_policy(exposures, policy)):
            if not value.estimator.startswith("IPS, "):
                assert abs(value.value - truth) < 3 * value.error
                assert value.value == pytest.approx(truth, abs=0.05)
                assert value.n == 8000


def test_what_cannot_be_weighed_is_refused():
    exposures, events = log(50, 0)
    target = of_policy(exposures, {"a": 1.0})
    holes = pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise(pl.col("propensity")).alias("propensity")
    with pytest.raises(InputError, match="3 exposures have no propensity"):
        would_have_earned(exposures.with_columns(holes), events, target)
    with pytest.raises(InputError, match="says nothing of 1 requests"):
        would_have_earned(exposures, events, target.filter(pl.col("request_id") != "r7"))
    with pytest.raises(InputError, match="events has no column 'event_type'"):
        would_have_earned(exposures, events.drop("event_type"), target)
