import itertools

import numpy as np
import pytest

from experiments.exceptions import InputError
from experiments.offpolicy.overlap import OverlapError
from experiments.offpolicy.slates import ASSUMPTIONS, LoggedSlates, slate_values

ITEMS, PLACES = 4, 3
LOGGING = np.array([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4]])
TARGET = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.2, 0.2, 0.2], [0.3, 0.3, 0.2, 0.2]])
APPEAL = np.array([0.2, 0.4, 0.6, 0.8])


def rewards_of(slate, reader):
    """Expected reward of each position, for readers that look at one place, or lose interest by what stood above."""
    appeal = APPEAL[list(slate)]
    if reader == "position-based":
        return appeal * [1.0, 0.7, 0.5]
    if reader == "cascade":
        return appeal * np.concatenate([[1], np.cumprod(1 - 0.5 * appeal[:-1])])
    return appeal * (1 - 0.5 * appeal.mean())  # each depends on the whole slate


def population(reader):
    """Every slate in proportion to the logging policy: estimates over it are expectations, free of chance."""
    slates, shares = [], []
    for slate in itertools.product(range(ITEMS), repeat=PLACES):
        slates.append(slate)
        shares.append(np.prod([LOGGING[place, item] for place, item in enumerate(slate)]))
    counts = np.round(np.array(shares) * 40_000).astype(int)  # whole numbers: the shares are multiples of 1/4000
    assert counts.sum() == 40_000
    slates = np.repeat(np.array(slates), counts, axis=0)
    rewards = np.array([rewards_of(slate, reader) for slate in slates])
    weights = TARGET[np.arange(PLACES), slates] / LOGGING[np.arange(PLACES), slates]
    truth = sum(
        np.prod([TARGET[place, item] for place, item in enumerate(slate)]) * rewards_of(slate, reader).sum()
        for slate in itertools.product(range(ITEMS), repeat=PLACES)
    )
    return LoggedSlates(rewards, weights, weights), truth


RIGHT = {
    "position-based": set(ASSUMPTIONS),
    "cascade": {"whole slate", "cascade"},
    "interacting": {"whole slate"},
}


@pytest.mark.parametrize("reader", RIGHT)
@pytest.mark.parametrize("self_normalised", [False, True])
def test_an_estimate_is_true_where_its_assumption_is(reader, self_normalised):
    log, truth = population(reader)
    for value in slate_values(log, self_normalised=self_normalised):
        name = value.estimator.removesuffix(", self-normalised")
        if name in RIGHT[reader]:
            assert value.value == pytest.approx(truth, rel=1e-9), name
        elif name == "position-based":
            assert abs(value.value - truth) > 1e-3  # the reader looks at more than one place


def test_stronger_assumptions_need_fewer_slates():
    log, truth = population("position-based")
    part = np.random.default_rng(0).choice(40_000, 2000, replace=False)
    some = LoggedSlates(log.rewards[part], log.at_position[part], log.given_above[part])
    values = {value.estimator: value for value in slate_values(some)}
    assert values["position-based"].error < values["cascade"].error < values["whole slate"].error
    assert values["position-based"].effective > values["cascade"].effective
    for value in values.values():
        assert value.low <= truth <= value.high


def test_the_same_policy_is_worth_what_was_earned():
    log, _ = population("interacting")
    ones = np.ones_like(log.rewards)
    for value in slate_values(LoggedSlates(log.rewards, ones, ones)):
        assert value.value == pytest.approx(log.rewards.sum(axis=1).mean(), rel=1e-12)


def test_weights_that_do_not_average_one_are_refused():
    log, _ = population("cascade")
    with pytest.raises(OverlapError, match="weights average"):
        slate_values(LoggedSlates(log.rewards, log.at_position * 0.5, log.given_above * 0.5))


def test_bad_slates_are_refused():
    ones = np.ones((3, 2))
    with pytest.raises(InputError, match=r"at_position has the shape \[3\]"):
        LoggedSlates(ones, np.ones(3), ones)
    with pytest.raises(InputError, match="negative"):
        LoggedSlates(ones, -ones, ones)
    with pytest.raises(InputError, match="given_above holds values that are not finite"):
        LoggedSlates(ones, ones, ones * np.inf)
