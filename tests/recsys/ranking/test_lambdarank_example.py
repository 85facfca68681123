"""Our wrapper on LightGBM's own LambdaRank example, which is read, trained and measured by LightGBM alone beside it."""

from __future__ import annotations

import gzip
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from recsys.ranking.lightgbm_ranker import LightGBMRanker, LightGBMRankerConfig
from recsys.ranking.training_set import TrainingSet

# examples/lambdarank/train.conf at bae0b7ba; what it sets to LightGBM's own default is left out
EXAMPLE = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "eval_at": [1, 3, 5],
    "learning_rate": 0.1,
    "num_leaves": 31,
    "feature_fraction": 1.0,
    "bagging_freq": 1,
    "bagging_fraction": 0.9,
    "min_data_in_leaf": 50,
    "min_sum_hessian_in_leaf": 5.0,
    "num_threads": 1,
    "verbosity": -1,
}
ROUNDS = 100
CONFIG = LightGBMRankerConfig(
    rounds=ROUNDS,
    patience=None,
    measured_at=(1, 3, 5),
    learning_rate=0.1,
    leaves=31,
    min_rows_per_leaf=50,
    min_hessian_per_leaf=5.0,
    feature_share=1.0,
    row_share=0.9,
    ridge=0,
    truncation=30,
    seed=None,
    threads=1,
)
FEATURES = 301  # ids go up to 300


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's files as LightGBM reads them, unpacked."""
    source = shared_data / "ltr-lambdarank"
    if not source.is_dir():
        pytest.skip("needs ../shared/data/ltr-lambdarank, which is not part of the repository")
    folder = tmp_path_factory.mktemp("lambdarank")
    for part in ("rank.train", "rank.test"):
        (folder / part).write_bytes(gzip.decompress((source / f"{part}.gz").read_bytes()))
        (folder / f"{part}.query").write_bytes((source / f"{part}.query").read_bytes())
    return folder


def examples(file: Path) -> TrainingSet:
    lines = [line.split() for line in file.read_text().splitlines()]
    features = np.zeros((len(lines), FEATURES), np.float32)
    for row, (_, *pairs) in enumerate(lines):
        for feature, _, value in (pair.partition(":") for pair in pairs):
            features[row, int(feature)] = float(value)
    labels = np.array([int(label) for label, *_ in lines], np.int8)
    groups = np.loadtxt(file.with_name(f"{file.name}.query"), np.int32)
    return TrainingSet([f"f{n}" for n in range(FEATURES)], features, labels, groups, None, "retrieved")


def test_ndcg_of_the_wrapper_is_that_of_the_example(folder: Path) -> None:
    train = lightgbm.Dataset(str(folder / "rank.train"))
    test = lightgbm.Dataset(str(folder / "rank.test"), reference=train)
    history: dict[str, dict[str, list[float]]] = {}
    plain = lightgbm.train(EXAMPLE, train, ROUNDS, valid_sets=[test], callbacks=[lightgbm.record_evaluation(history)])
    validation = examples(folder / "rank.test")
    ranker, metrics = LightGBMRanker.fit(examples(folder / "rank.train"), validation, CONFIG)
    assert metrics["validation"] == {measure: curve[-1] for measure, curve in history["valid_0"].items()}
    assert list(metrics["validation"]) == ["ndcg@1", "ndcg@3", "ndcg@5"]
    assert metrics["rounds"] == ROUNDS
    np.testing.assert_array_equal(
        ranker.score(validation.features[None])[0], plain.predict(str(folder / "rank.test")).astype(np.float32)
    )
