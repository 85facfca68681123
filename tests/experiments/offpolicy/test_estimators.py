import numpy as np
import polars as pl
import pytest

from experiments.exceptions import InputError
from experiments.offpolicy import estimators as es
from experiments.offpolicy.logged import LoggedActions
from experiments.offpolicy.overlap import Overlap, OverlapError
from experiments.offpolicy.reward_model import fit_logistic, predict_rewards
from experiments.offpolicy.value import on_policy_value, policy_values

N_ACTIONS = 5


def simulate(n, seed, sharpness=1.0):
    """Contexts of two kinds, softmax policies, Bernoulli rewards: the truth is known in closed form."""
    g = np.random.default_rng(seed)
    kinds = g.integers(2, size=n)
    means = np.array([[0.1, 0.3, 0.5, 0.2, 0.4], [0.4, 0.1, 0.2, 0.6, 0.3]])
    logging = np.array([[0.3, 0.2, 0.1, 0.2, 0.2], [0.1, 0.3, 0.3, 0.1, 0.2]])
    target = np.exp(sharpness * 3 * means)
    target /= target.sum(axis=1, keepdims=True)
    actions = np.array([g.choice(N_ACTIONS, p=logging[kind]) for kind in kinds])
    rewards = (g.random(n) < means[kinds, actions]).astype(float)
    truth = float((target * means).sum(axis=1).mean())
    return kinds, means, logging[kinds], target[kinds], actions, rewards, truth


@pytest.fixture(scope="module")
def log():
    kinds, means, logging, target, actions, rewards, _ = simulate(4000, 0)
    rough = means[kinds] * 0.7 + 0.05
    return LoggedActions.of_distributions(rewards, actions, logging, target, rough)


def test_estimators_equal_the_published_formulas(log):
    """As Open Bandit Pipeline 0.5.5 writes them, with its names."""
    iw, reward = log.target / log.logged, log.rewards
    q_hat_factual, base = log.predicted, log.expected
    expected = {
        es.ips(): (iw * reward).mean(),
        es.ips(clip=1.5): (np.minimum(iw, 1.5) * reward).mean(),
        es.snips(): ((iw / iw.mean()) * reward).mean(),
        es.direct_method(): base.mean(),
        es.doubly_robust(): (base + iw * (reward - q_hat_factual)).mean(),
        es.self_normalised_doubly_robust(): (base + iw * (reward - q_hat_factual) / iw.mean()).mean(),
        es.switch(1.5): (base + (iw <= 1.5) * iw * (reward - q_hat_factual)).mean(),
        es.optimistic_shrinkage(4.0): (base + (4.0 * iw) / (iw**2 + 4.0) * (reward - q_hat_factual)).mean(),
    }
    for estimator, value in expected.items():
        assert estimator.estimate(log)[0] == pytest.approx(value, rel=1e-12), estimator.name


def test_the_ends_of_the_families_meet(log):
    dm, dr = es.direct_method().estimate(log)[0], es.doubly_robust().estimate(log)[0]
    assert es.switch(0).estimate(log)[0] == pytest.approx(dm, rel=1e-12)
    assert es.switch(1e9).estimate(log)[0] == pytest.approx(dr, rel=1e-12)
    assert es.optimistic_shrinkage(0).estimate(log)[0] == pytest.approx(dm, rel=1e-12)
    assert es.optimistic_shrinkage(1e12).estimate(log)[0] == pytest.approx(dr, rel=1e-6)


def test_the_logging_policy_is_worth_what_it_earned(log):
    same = LoggedActions(log.rewards, log.logged, log.logged)
    for value in policy_values(same):
        own = on_policy_value(log.rewards)
        assert (value.value, value.low, value.high) == pytest.approx((own.value, own.low, own.high), rel=1e-12)
        assert value.effective == pytest.approx(len(log))


@pytest.mark.parametrize("name", ["IPS", "SNIPS", "DR", "SNDR"])
def test_intervals_cover_the_truth(name):
    hits, values = 0, []
    for seed in range(200):
        kinds, means, logging, target, actions, rewards, truth = simulate(400, seed)
        rough = np.roll(means[kinds], 1, axis=1)  # a bad model: DR stays right by its propensities
        log = LoggedActions.of_distributions(rewards, actions, logging, target, rough)
        value = next(each for each in policy_values(log) if each.estimator == name)
        hits += value.low <= truth <= value.high
        values.append(value.value)
    assert 0.90 <= hits / 200 <= 0.99
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / np.sqrt(200))


def test_a_good_model_makes_up_for_wrong_propensities():
    kinds, means, logging, target, actions, rewards, truth = simulate(20_000, 3)
    wrong = LoggedActions.of_distributions(rewards, actions, np.full_like(logging, 0.2), target, means[kinds])
    assert es.doubly_robust().estimate(wrong)[0] == pytest.approx(truth, abs=0.01)
    assert abs(es.ips().estimate(wrong)[0] - truth) > 0.02


def test_rows_of_one_unit_are_taken_together(log):
    units = np.repeat(np.arange(len(log) // 4), 4)
    four_times = LoggedActions(
        *(np.repeat(part[::4], 4) for part in (log.rewards, log.logged, log.target)), units=units
    )
    once = LoggedActions(log.rewards[::4], log.logged[::4], log.target[::4])
    for many, few in zip(policy_values(four_times), policy_values(once), strict=True):
        assert (many.value, many.error) == pytest.approx((few.value, few.error), rel=1e-9)


def test_missing_support_is_refused():
    rewards, actions = np.array([1.0, 0.0] * 50), np.array([0, 1] * 50)
    logging, target = np.tile([0.5, 0.5, 0.0], (100, 1)), np.tile([0.4, 0.4, 0.2], (100, 1))
    log = LoggedActions.of_distributions(rewards, actions, logging, target)
    with pytest.raises(OverlapError, match=r"20\.0% of what the evaluated policy does was never done"):
        policy_values(log)
    unknown = LoggedActions(log.rewards, log.logged, log.target)  # nothing but the taken actions is known
    with pytest.raises(OverlapError, match=r"average 0\.800 where they must average 1"):
        policy_values(unknown)


def test_wrong_propensities_are_refused():
    _, _, logging, target, actions, rewards, _ = simulate(4000, 1)
    with pytest.raises(OverlapError, match="not those the log was made with"):
        policy_values(LoggedActions.of_distributions(rewards, actions, np.full_like(logging, 0.5), target))


def test_few_effective_rows_are_told():
    g = np.random.default_rng(0)
    taken = g.random(2000) < 0.02
    log = LoggedActions(taken * 1.0, np.where(taken, 0.02, 0.98), np.where(taken, 0.9, 0.1))
    overlap = Overlap.of(log)
    weights = log.target / log.logged
    assert overlap.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert overlap.effective < 100
    (first, *_) = policy_values(log)
    assert "rows weigh as much as" in first.warnings[0]


@pytest.mark.parametrize(
    ("rewards", "logged", "target", "words"),
    [
        ([1.0, np.nan], [0.5, 0.5], [0.5, 0.5], "rewards is nan in row 1"),
        ([1.0, 0.0], [0.5, 0.0], [0.5, 0.5], "logged propensity of row 1 is 0"),
        ([1.0, 0.0], [0.5, 0.5], [0.5, 1.5], "target propensity of row 1 is 1.5"),
        ([1.0, 0.0], [0.5], [0.5, 0.5], r"logged has the shape \[1\]"),
        ([], [], [], "No action was logged"),
    ],
)
def test_bad_logs_are_refused_by_name(rewards, logged, target, words):
    with pytest.raises(InputError, match=words):
        LoggedActions(np.array(rewards), np.array(logged), np.array(target))


def test_a_model_is_asked_for(log):
    with pytest.raises(InputError, match="needs the rewards that a model predicts"):
        policy_values(LoggedActions(log.rewards, log.logged, log.target), [es.doubly_robust()])


def test_the_reward_model_is_penalised_maximum_likelihood():
    g = np.random.default_rng(0)
    features = np.column_stack([g.normal(size=(3000, 2)), np.ones(3000)])
    rewards = (g.random(3000) < 1 / (1 + np.exp(-features @ [1.0, -0.5, -1.0]))).astype(float)
    weights = fit_logistic(features, rewards, ridge=1.0)
    mean = 1 / (1 + np.exp(-features @ weights))
    assert features.T @ (rewards - mean) == pytest.approx([weights[0], weights[1], 0], abs=1e-6)  # the gradient is 0
    assert weights == pytest.approx([1.0, -0.5, -1.0], abs=0.15)


def test_no_row_is_predicted_by_a_model_that_saw_its_unit():
    """With a feature per unit a model that saw the unit would know its reward by heart."""
    units = np.repeat(np.arange(60), 2)
    rewards = np.repeat(np.random.default_rng(0).integers(2, size=60), 2).astype(float)
    actions = np.zeros(120, int)
    predicted = predict_rewards(lambda rows, _: np.eye(60)[units[rows]], actions, 1, rewards, units)
    assert len(np.unique(predicted.round(6))) <= 3  # for each of the folds its mean, whatever the unit


def test_thompson_sampling_of_the_open_bandit_data(shared_data):
    """Values of the week's mean Thompson policy from the random policy's log, beside what Thompson sampling earned."""
    random = pl.read_csv(shared_data / "obd-men" / "random-men.csv.gz")
    thompson = pl.read_csv(shared_data / "obd-men" / "bts-men.csv.gz")
    policy = np.zeros((3, 34))
    np.add.at(policy, (thompson["position"].to_numpy() - 1, thompson["item_id"].to_numpy()), 1)
    policy /= policy.sum(axis=1, keepdims=True)
    places, items = random["position"].to_numpy() - 1, random["item_id"].to_numpy()
    clicks, pscore = random["click"].to_numpy().astype(float), random["propensity_score"].to_numpy()

    def describe(rows, actions):
        return np.column_stack([np.eye(3)[places[rows]], np.eye(34)[actions]])

    q = predict_rewards(describe, items, 34, clicks, ridge=5.0)
    log = LoggedActions.of_distributions(clicks, items, pscore, policy[places], q)
    iw = policy[places, items] / pscore
    base, factual = (policy[places] * q).sum(axis=1), q[np.arange(len(q)), items]
    values = {value.estimator: value for value in policy_values(log)}
    assert values["IPS"].value == pytest.approx((iw * clicks).mean(), abs=1e-12)
    assert values["SNIPS"].value == pytest.approx(((iw / iw.mean()) * clicks).mean(), abs=1e-12)
    assert values["DR"].value == pytest.approx((base + iw * (clicks - factual)).mean(), abs=1e-12)
    truth = on_policy_value(thompson["click"].to_numpy().astype(float)).value
    assert truth == 0.0069
    for name in ("IPS", "SNIPS", "DR"):
        assert values[name].low <= truth <= values[name].high
    assert values["IPS"].effective < 3500
