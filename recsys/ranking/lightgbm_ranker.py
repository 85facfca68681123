"""LightGBMRanker: LambdaMART over request groups, with the position of logged impressions taken out of the labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightgbm
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError, ConfigError
from recsys.ranking.position_bias import PositionAdjustedLikelihood
from recsys.ranking.training_set import TrainingSet
from recsys.ranking.tree_scorer import TreeScorer
from recsys.types import FloatArray

MODEL = "model.txt"
DESCRIPTION = "ranker.json"
POSITION_ADJUSTED = "position_adjusted_likelihood"

Scores = npt.NDArray[np.float64]


class LightGBMRankerConfig(BaseConfig):
    """Settings of the trees."""

    rounds: int = Field(600, ge=1)  # at most
    patience: int | None = Field(40, ge=1)  # rounds without a better validation score before stopping; None: never
    measured_at: tuple[int, ...] = Field((10,), min_length=1)  # ranks of the validation NDCG; it stops by the lowest
    learning_rate: float = Field(0.05, gt=0)
    leaves: int = Field(31, ge=2)
    min_rows_per_leaf: int = Field(50, ge=0)
    min_hessian_per_leaf: float = Field(1e-3, ge=0)
    feature_share: float = Field(0.7, gt=0, le=1)  # of the features, per tree
    row_share: float = Field(1.0, gt=0, le=1)  # of the rows, per tree
    ridge: float = Field(1.0, ge=0)
    truncation: int = Field(20, ge=1)  # pairs count when one of the two stands among the first so many
    monotone: Mapping[str, Literal[-1, 1]] = {}  # feature -> whether a higher value may only raise (1) the score
    categorical: tuple[str, ...] = ()  # features whose values, whole numbers from 0, have no order
    unbiased: bool = True  # model the position of logged impressions
    seed: int | None = 0  # None: the seeds LightGBM has by itself
    threads: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _categories_have_no_direction(self) -> LightGBMRankerConfig:
        both = [name for name in self.categorical if name in self.monotone]
        if both:
            raise ValueError(f"{both} cannot be both monotone and categorical: categories have no order")
        return self


class LightGBMRanker:
    """Gradient-boosted trees with the LambdaRank objective (LightGBM).

    Where the training set has positions they are given to the objective (``Dataset(position=...)``), which learns one
    bias per position beside the trees; scoring leaves them out. So a position is never a feature, and an item is not
    thought good because it once stood on top.

    Args:
        booster: trained trees.
        names: of the features, in order.
        negatives: what the training labels of 0 were, see :class:`recsys.ranking.training_set.LabelledRequests`.
    """

    def __init__(self, booster: lightgbm.Booster, names: Sequence[str], negatives: str) -> None:
        self._booster = booster
        self._trees = TreeScorer.of(booster)
        self._names = list(names)
        self.negatives = negatives

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @classmethod
    def fit(
        cls, train: TrainingSet, validation: TrainingSet, config: LightGBMRankerConfig
    ) -> tuple[LightGBMRanker, dict[str, Any]]:
        """Grow trees until the validation score stops rising.

        That is NDCG at the lowest of ``measured_at``, or where positions are modelled
        :class:`recsys.ranking.position_bias.PositionAdjustedLikelihood`: by NDCG on biased clicks, the unbiased ranker
        looks worse the better it gets.

        Returns:
            The ranker, and its metrics for a manifest: what the negatives were, sizes, rounds, validation scores,
            gain of each feature, best first.

        Raises:
            ConfigError: the two sets have different features, or the config names others.
        """
        if list(train.names) != list(validation.names):
            raise ConfigError(_difference(train.names, validation.names), "Use one assembler for both sets.")
        _check_names(config, train.names)
        unbiased = config.unbiased and train.positions is not None and validation.positions is not None
        data = _dataset(train, unbiased, config.categorical)
        history: dict[str, dict[str, list[float]]] = {}
        booster = lightgbm.train(
            _parameters(config, train.names) | {"metric": "None" if unbiased else "ndcg"},
            data,
            config.rounds,
            valid_sets=[_dataset(validation, False, config.categorical, reference=data)],
            feval=_position_adjusted(validation) if unbiased else None,
            callbacks=[
                *([] if config.patience is None else [_early_stopping(config.patience)]),
                lightgbm.record_evaluation(history),
            ],
        )
        rounds = booster.best_iteration if config.patience is not None else booster.num_trees()
        scores = {measure: float(curve[rounds - 1]) for measure, curve in history["valid_0"].items()}
        gains = booster.feature_importance("gain", iteration=rounds)
        order = np.argsort(-gains, kind="stable")
        metrics = {
            "negatives": train.negatives,
            "unbiased": unbiased,
            "train_requests": len(train.groups),
            "train_rows": len(train.labels),
            "validation_requests": len(validation.groups),
            "rounds": rounds,
            "validation_measure": next(iter(scores)),
            "validation_score": next(iter(scores.values())),
            "validation": scores,
            "importance": {train.names[feature]: round(float(gains[feature]), 2) for feature in order},
        }
        booster = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=rounds))
        return cls(booster, train.names, train.negatives), metrics

    def score(self, features: FloatArray) -> FloatArray:
        """See :class:`recsys.ranking.base.Ranker`.

        Raises:
            ConfigError: another number of features.
        """
        flat, there = self._candidates(features)
        scores = np.full(len(flat), -np.inf, np.float32)
        if there.any():
            scores[there] = self._trees.score(flat[there]) if self._trees else self._booster.predict(flat[there])
        return scores.reshape(features.shape[:2])

    def contributions(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """What each feature adds to each score: SHAP values of the trees (1802.03888).

        Args:
            features: float32 ``[n, m, len(names)]``.

        Returns:
            float64 ``[n, m, len(names) + 1]``, by feature in the order of ``names`` and behind them the score of an
            average candidate; they add up to the score. NaN where there is no candidate (all features NaN).

        Raises:
            ConfigError: another number of features.
        """
        flat, there = self._candidates(features)
        parts = np.full((len(flat), len(self._names) + 1), np.nan)
        if there.any():
            parts[there] = self._booster.predict(flat[there], pred_contrib=True)
        return parts.reshape(*features.shape[:2], -1)

    def _candidates(self, features: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Features of all candidates one after another, and which there are."""
        width = features.shape[2]
        if width != len(self._names):
            raise ConfigError(f"{width} features for a ranker of {len(self._names)}.", f"It expects {self._names}.")
        flat = features.reshape(-1, width).astype(np.float32, copy=False)
        return flat, np.asarray(~np.isnan(flat).all(axis=1))

    def save(self, path: Path) -> None:
        """Write ``model.txt`` (LightGBM's own text) and ``ranker.json`` (feature names, kind of negatives)."""
        path.mkdir(parents=True, exist_ok=True)
        (path / MODEL).write_text(self._booster.model_to_string())
        description = {"names": self._names, "negatives": self.negatives}
        (path / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path, names: Sequence[str]) -> LightGBMRanker:
        """Read a saved ranker.

        Args:
            path: its directory.
            names: the features it will be given.

        Raises:
            ArtifactError: it was trained on other features, or in another order.
        """
        description = json.loads((path / DESCRIPTION).read_text())
        if description["names"] != list(names):
            raise ArtifactError(_difference(description["names"], names), "Train the ranker again on these features.")
        booster = lightgbm.Booster(model_str=(path / MODEL).read_text())
        return cls(booster, names, description["negatives"])


def _parameters(config: LightGBMRankerConfig, names: Sequence[str]) -> dict[str, Any]:
    """The config in LightGBM's terms."""
    parameters: dict[str, Any] = {
        "objective": "lambdarank",
        "eval_at": list(config.measured_at),
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows_per_leaf,
        "min_sum_hessian_in_leaf": config.min_hessian_per_leaf,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "lambda_l2": config.ridge,
        "lambdarank_truncation_level": config.truncation,
        "label_gain": [2**grade - 1 for grade in range(32)],
        "num_threads": config.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    if config.monotone:
        parameters["monotone_constraints"] = [config.monotone.get(name, 0) for name in names]
    if config.seed is not None:
        parameters["seed"] = config.seed
    return parameters


def _early_stopping(patience: int) -> Callable[[Any], None]:
    stop: Callable[[Any], None] = lightgbm.early_stopping(patience, first_metric_only=True, verbose=False)
    return stop


def _dataset(
    examples: TrainingSet, unbiased: bool, categorical: Sequence[str], reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        examples.features,
        label=examples.labels,
        group=examples.groups,
        position=examples.positions if unbiased else None,
        feature_name=[f"f{feature}" for feature in range(len(examples.names))],  # names may hold what LightGBM refuses
        categorical_feature=[examples.names.index(name) for name in categorical],
        reference=reference,
        free_raw_data=True,
    )


def _check_names(config: LightGBMRankerConfig, names: Sequence[str]) -> None:
    unknown = [name for name in (*config.monotone, *config.categorical) if name not in names]
    if unknown:
        raise ConfigError(
            f"There is no feature {', '.join(map(repr, unknown))} to constrain.", f"There are: {', '.join(names)}."
        )


def _position_adjusted(validation: TrainingSet) -> Callable[[Scores, lightgbm.Dataset], tuple[str, float, bool]]:
    likelihood = PositionAdjustedLikelihood(validation)
    return lambda scores, _: (POSITION_ADJUSTED, likelihood(scores), True)


def _difference(expected: Sequence[str], actual: Sequence[str]) -> str:
    missing = [name for name in expected if name not in actual]
    new = [name for name in actual if name not in expected]
    if not missing and not new:
        return f"The features stand in another order: expected {list(expected)}, got {list(actual)}."
    return f"The features differ: missing {missing}, unknown {new}."
