"""The user tower as a stage: trained, heard by the ranker, evaluated and served."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import open_engine
from pipelines.console import Console
from pipelines.evaluate import evaluate
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.train_ranker import user_tower_of
from recsys.artifacts import ArtifactStore
from recsys.exceptions import ArtifactError
from recsys.retrieval.user_tower import USER_TOWER, UserTowerSource
from recsys.types import Histories, UserId

STEPS = {"user_trainer": {"steps": 60, "evaluate_every": 20, "users_per_batch": 16, "negatives": 64}}


@pytest.fixture(scope="module")
def run(tiny_home: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the tiny home with a user tower, a ranker that hears it, and the report on both."""
    home = tmp_path_factory.mktemp("with_user_tower") / "home"
    shutil.copytree(tiny_home, home, symlinks=True)
    model = {"user_tower": {"width": 16, "last": 10, "layers": 1}}
    made = Run(home, load_run_config(tiny_run, STEPS | model), Console())
    made.everything()
    return made


def test_its_vectors_are_those_of_the_catalogue_and_it_knows_users(run: Run) -> None:
    artifact = run.store.current(USER_TOWER)
    source = UserTowerSource.open(artifact.path)
    metrics = artifact.manifest.metrics
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]
    assert metrics["trained_items"] < len(source.items.ids)  # some appear after the time it learns from
    lengths = np.linalg.norm(source.items.vectors, axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, atol=1e-5)
    found = source.retrieve(Histories.of([[3]]), 5)  # one click is enough
    assert len(set(found.rows[0].tolist()) - {3}) == 5


def test_the_ranker_hears_it_and_the_report_shows_it_alone(run: Run) -> None:
    ranker = run.store.current("ranker")
    assert user_tower_of(run.store, ranker) == run.store.current(USER_TOWER)
    assert USER_TOWER in (run.store.home / "reports" / "evaluation.json").read_text()
    engine = open_engine(run.store)
    user = UserId(str(engine.data.events["user_id"][0]))
    slate = engine.feed(user, 5)
    assert len(slate) == 5
    assert np.isfinite([answer.score for answer in slate]).all()


def test_unchanged_it_is_skipped_and_without_it_the_ranker_is_another(run: Run) -> None:
    dataset, embeddings = (run.store.current(kind) for kind in ("dataset", "embeddings"))
    again = run.user_tower(dataset, embeddings)
    assert again == run.store.current(USER_TOWER)
    heard = run.store.current("ranker")
    deaf = run.ranker(dataset, embeddings)
    assert deaf.key != heard.key
    assert user_tower_of(run.store, deaf) is None
    run.ranker(dataset, embeddings, again)


def test_a_ranker_whose_user_tower_is_gone_says_so(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.store.home, tmp_path / "home", symlinks=True)
    store = ArtifactStore(tmp_path / "home")
    parts = [store.current(kind) for kind in ("dataset", "tower", "embeddings", "ranker")]
    shutil.rmtree(store.current(USER_TOWER).path)
    with pytest.raises(ArtifactError, match="is not a finished artifact"):
        evaluate(store, *parts, run.config.evaluation_config())
