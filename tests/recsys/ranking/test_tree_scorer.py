from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from recsys.ranking.tree_scorer import ROWS_PER_BLOCK, TreeScorer, _not_above

WIDTH = 6
CATEGORIES = 90  # of the last feature; more than two words of bits


def features(n: int, seed: int) -> np.ndarray:
    """Numbers with holes, exact zeros and ties; a category in the last column."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((n, WIDTH)).astype(np.float32)
    values[:, 1] = np.round(values[:, 1], 1)
    values[generator.random(n) < 0.3, 2] = np.nan
    values[generator.random(n) < 0.4, 3] = 0
    values[:, WIDTH - 1] = generator.integers(0, CATEGORIES, n)
    return values


def trained(rounds: int = 40, categorical: bool = True, **parameters: Any) -> lightgbm.Booster:
    values = features(3000, 0)
    generator = np.random.default_rng(1)
    effect = generator.standard_normal(CATEGORIES)[values[:, -1].astype(int)]
    hole = np.isnan(values[:, 2])
    wanted = values[:, 0] + values[:, 1] * (values[:, 3] == 0) + np.where(hole, 1, values[:, 2]) + 2 * effect
    settings = {"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "seed": 0}
    data = lightgbm.Dataset(
        values,
        label=np.digitize(wanted, [0, 2]),
        group=np.full(300, 10),
        categorical_feature=[WIDTH - 1] if categorical else [],
    )
    return lightgbm.train(settings | parameters, data, rounds)


def strange() -> np.ndarray:
    """What training did not have: missing values everywhere, infinities, categories that do not exist."""
    values = features(700, 2)
    generator = np.random.default_rng(3)
    odd = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-36, -1e-36, 3e38, -0.5, -1, -7, 1e6, 5e9], np.float32)
    chosen = generator.random(values.shape) < 0.3
    values[chosen] = generator.choice(odd, chosen.sum())
    return values


CASES: dict[str, dict[str, Any]] = {
    "NaN goes where it was learned": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "stumps": {"num_leaves": 2},
    "one word of leaves": {"num_leaves": 32},
    "more words of leaves": {"num_leaves": 200, "min_data_in_leaf": 1},
    "sets of categories": {"max_cat_to_onehot": 1, "cat_smooth": 1, "cat_l2": 0, "min_data_per_group": 5},
    "one category against the rest": {"max_cat_to_onehot": 200},
    "a category as a number": {"categorical": False},
    "trees that are dropped and weighed": {"boosting": "dart"},
    "no split that helps": {"min_data_in_leaf": 3000},
}


@pytest.mark.parametrize("parameters", CASES.values(), ids=CASES)
def test_scores_are_those_of_the_booster_to_the_last_bit(parameters: dict[str, Any]) -> None:
    booster = trained(**parameters)
    scorer = TreeScorer.of(booster)
    assert scorer is not None
    for values in (features(300, 4), strange()):
        np.testing.assert_array_equal(scorer.score(values), booster.predict(values, num_threads=1))


def test_every_kind_of_decision_is_there_to_be_tested() -> None:
    def kinds(**parameters: Any) -> set[int]:
        lines = trained(**parameters).model_to_string().splitlines()
        types = [line.partition("=")[2].split() for line in lines if line.startswith("decision_type=")]
        return {int(kind) for tree in types for kind in tree}

    assert kinds() >= {1 | 8, 2, 8, 2 | 8}  # categorical; none missing; NaN to the right; NaN to the left
    assert kinds(zero_as_missing=True) >= {4, 2 | 4}


def test_any_number_of_rows() -> None:
    booster = trained(rounds=5)
    scorer = TreeScorer.of(booster)
    assert scorer is not None
    for n in (0, 1, 7, ROWS_PER_BLOCK, ROWS_PER_BLOCK + 1):
        values = features(n, 5)
        expected = booster.predict(values, num_threads=1) if n else np.zeros(0)
        np.testing.assert_array_equal(scorer.score(values), expected)


def test_values_at_a_threshold_stay_on_its_left() -> None:
    booster = trained(rounds=20, categorical=False)
    lines = booster.model_to_string().splitlines()
    thresholds = [float(number) for line in lines if line.startswith("threshold=") for number in line[10:].split()]
    values = np.repeat(np.array(thresholds, np.float32)[:, None], WIDTH, axis=1)
    values = np.concatenate([values, np.nextafter(values, np.float32(9e9)), np.nextafter(values, np.float32(-9e9))])
    scorer = TreeScorer.of(booster)
    assert scorer is not None
    np.testing.assert_array_equal(scorer.score(values), booster.predict(values, num_threads=1))


@pytest.mark.parametrize("threshold", [0.1, -0.1, 0.5, 1e300, -1e300, 1e-50, -1e-50, 1.0000000180025095e-35])
def test_a_narrower_threshold_separates_the_same_values(threshold: float) -> None:
    narrow = _not_above(threshold)
    assert float(narrow) <= threshold
    with np.errstate(over="ignore"):
        assert float(np.nextafter(narrow, np.float32(np.inf))) > threshold


@pytest.mark.parametrize(
    "parameters",
    [
        {"linear_tree": True, "objective": "regression"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "objective": "regression"},
        {"objective": "multiclass", "num_class": 3},
    ],
    ids=["linear leaves", "random forest", "several classes"],
)
def test_leaves_other_models_to_the_booster(parameters: dict[str, Any]) -> None:
    assert TreeScorer.of(trained(rounds=3, **parameters)) is None
