"""LightGBMRanker: LambdaMART over request groups, with the position of logged impressions taken out of the labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError, ConfigError
from recsys.ranking.position_bias import PositionAdjustedLikelihood
from recsys.ranking.training_set import TrainingSet
from recsys.types import FloatArray

MODEL = "model.txt"
DESCRIPTION = "ranker.json"
POSITION_ADJUSTED = "position_adjusted_likelihood"

Scores = npt.NDArray[np.float64]


class LightGBMRankerConfig(BaseConfig):
    """Settings of the trees."""

    rounds: int = Field(600, ge=1)  # at most
    patience: int = Field(40, ge=1)  # rounds without a better validation score before stopping
    learning_rate: float = Field(0.05, gt=0)
    leaves: int = Field(31, ge=2)
    min_rows_per_leaf: int = Field(50, ge=1)
    feature_share: float = Field(0.7, gt=0, le=1)  # of the features, per tree
    ridge: float = Field(1.0, ge=0)
    truncation: int = Field(20, ge=1)  # pairs count when one of the two stands among the first so many
    unbiased: bool = True  # model the position of logged impressions
    seed: int = 0
    threads: int = Field(2, ge=1)


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

        That is NDCG@10, or where positions are modelled
        :class:`recsys.ranking.position_bias.PositionAdjustedLikelihood`: by NDCG on biased clicks, the unbiased ranker
        looks worse the better it gets.

        Returns:
            The ranker, and its metrics for a manifest: what the negatives were, sizes, rounds, validation scores,
            gain of each feature, best first.

        Raises:
            ConfigError: the two sets have different features.
        """
        if list(train.names) != list(validation.names):
            raise ConfigError(_difference(train.names, validation.names), "Use one assembler for both sets.")
        unbiased = config.unbiased and train.positions is not None and validation.positions is not None
        parameters = {
            "objective": "lambdarank",
            "metric": "None" if unbiased else "ndcg",
            "eval_at": [10],
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows_per_leaf,
            "feature_fraction": config.feature_share,
            "lambda_l2": config.ridge,
            "lambdarank_truncation_level": config.truncation,
            "label_gain": [2**grade - 1 for grade in range(32)],
            "seed": config.seed,
            "num_threads": config.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        data = _dataset(train, unbiased)
        history: dict[str, dict[str, list[float]]] = {}
        booster = lightgbm.train(
            parameters,
            data,
            config.rounds,
            valid_sets=[_dataset(validation, unbiased=False, reference=data)],
            feval=_position_adjusted(validation) if unbiased else None,
            callbacks=[
                lightgbm.early_stopping(config.patience, verbose=False),
                lightgbm.record_evaluation(history),
            ],
        )
        [(measure, curve)] = history["valid_0"].items()
        gains = booster.feature_importance("gain", iteration=booster.best_iteration)
        order = np.argsort(-gains, kind="stable")
        metrics = {
            "negatives": train.negatives,
            "unbiased": unbiased,
            "train_requests": len(train.groups),
            "train_rows": len(train.labels),
            "validation_requests": len(validation.groups),
            "rounds": booster.best_iteration,
            "validation_measure": measure,
            "validation_score": float(curve[booster.best_iteration - 1]),
            "importance": {train.names[feature]: round(float(gains[feature]), 2) for feature in order},
        }
        booster = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
        return cls(booster, train.names, train.negatives), metrics

    def score(self, features: FloatArray) -> FloatArray:
        """See :class:`recsys.ranking.base.Ranker`.

        Raises:
            ConfigError: another number of features.
        """
        n, m, width = features.shape
        if width != len(self._names):
            raise ConfigError(f"{width} features for a ranker of {len(self._names)}.", f"It expects {self._names}.")
        flat = features.reshape(n * m, width)
        there = ~np.isnan(flat).all(axis=1)
        scores = np.full(n * m, -np.inf, np.float32)
        if there.any():
            scores[there] = self._booster.predict(flat[there])
        return scores.reshape(n, m)

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


def _dataset(examples: TrainingSet, unbiased: bool, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        examples.features,
        label=examples.labels,
        group=examples.groups,
        position=examples.positions if unbiased else None,
        feature_name=[f"f{feature}" for feature in range(len(examples.names))],  # names may hold what LightGBM refuses
        reference=reference,
        free_raw_data=True,
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
