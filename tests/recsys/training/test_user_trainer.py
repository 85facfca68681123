from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import DataError
from recsys.index.exact import ExactIndex
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.training import user_trainer
from recsys.training.checkpoint import Checkpoint
from recsys.training.optimizer import OptimizerConfig
from recsys.training.user_trainer import UserTrainerConfig, train_user_tower
from recsys.types import Histories, IdMap

N_ITEMS, GROUPS = 60, 6
CONFIG = UserTrainerConfig(
    steps=120,
    users_per_batch=16,
    negatives=30,
    evaluate_every=40,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=5),
    validation_users=40,
)


def ring() -> Interactions:
    """Users walk through the groups of items in order: after one of group g comes one of group g + 1."""
    random = np.random.default_rng(0)
    walks = []
    for _ in range(120):
        groups = (random.integers(GROUPS) + np.arange(12)) % GROUPS
        walks.append([int(group + GROUPS * random.integers(N_ITEMS // GROUPS)) for group in groups])
    kept = [list(dict.fromkeys(walk)) for walk in walks]
    users = np.repeat(np.arange(len(kept)), [len(walk) for walk in kept]).astype(np.int32)
    items = np.concatenate([np.asarray(walk, np.int32) for walk in kept])
    seen = items < N_ITEMS - GROUPS  # the last item of each group is new: nobody met it
    maps = IdMap.of(f"i{row}" for row in range(N_ITEMS)), IdMap.of(f"u{row}" for row in range(len(kept)))
    ones = np.ones(len(items), np.float32)
    return Interactions(*maps, users, items, np.arange(len(items)), ones).where(seen)


def content() -> EmbeddingTable:
    """Items of a group resemble one another."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((GROUPS, 8))
    vectors = centres[np.arange(N_ITEMS) % GROUPS] + 0.3 * random.standard_normal((N_ITEMS, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(N_ITEMS)), vectors.astype(np.float32), "content")


def fresh() -> UserTower:
    torch.manual_seed(0)
    trained = IdMap.of(f"i{row}" for row in range(N_ITEMS - GROUPS))
    return UserTower(8, trained, UserTowerConfig(width=16, last=6, layers=1, heads=2), "content")


def weights(tower: UserTower) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tower.state_dict().items()}


def test_it_learns_what_comes_next_and_places_new_items_by_their_content(tmp_path: Path) -> None:
    tower = fresh()
    progress = train_user_tower(tower, content(), ring(), CONFIG, tmp_path)
    assert progress.history[-1]["loss"] < 0.8 * progress.history[0]["loss"]
    assert progress.best_recall > 0.5  # ten of sixty by chance
    items = EmbeddingTable(content().ids, tower.item_vectors(content()), "")
    walks = Histories.of([[group, (group + 1) % GROUPS + GROUPS] for group in range(GROUPS)])
    found = UserTowerSource(tower, items, ExactIndex(items)).retrieve(walks, 10).rows
    assert ((found % GROUPS) == (np.arange(GROUPS)[:, None] + 2) % GROUPS).mean() > 0.8
    new = np.arange(N_ITEMS - GROUPS, N_ITEMS)
    wanted = [new[(group + 2) % GROUPS] in found[group] for group in range(GROUPS)]
    assert np.mean(wanted) > 0.6


def test_interrupted_and_resumed_it_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    undisturbed = fresh()
    train_user_tower(undisturbed, content(), ring(), CONFIG, tmp_path / "whole")
    saved = Checkpoint.save

    def save_and_stop(self: Checkpoint, *arguments: object) -> None:
        saved(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_user_tower(fresh(), content(), ring(), CONFIG, tmp_path / "cut")
    monkeypatch.undo()
    resumed = fresh()
    train_user_tower(resumed, content(), ring(), CONFIG, tmp_path / "cut")
    for name, tensor in weights(undisturbed).items():
        torch.testing.assert_close(weights(resumed)[name], tensor, rtol=0, atol=0)


def test_what_was_engaged_with_by_then_is_no_negative_and_what_came_later_is_one() -> None:
    config = CONFIG.model_copy(update={"negatives": None, "largest_cosine": 1.0})
    interactions = ring()
    sequences = user_trainer.Sequences(interactions, 6, 0)
    sampler = user_trainer.NegativeSampler.of(interactions.item_counts())
    step = user_trainer._Step(fresh(), content(), fresh().slots(content().ids), sequences, sampler, config)
    batch = sequences.draw(0, 4)
    real = batch.targets >= 0
    known = step._known(batch, sampler.items, torch.from_numpy(real)).numpy()
    owner = np.repeat(batch.users, real.sum(axis=1))
    for row, (user, target) in enumerate(zip(owner, batch.targets[real], strict=True)):
        history = interactions.histories()[user].tolist()
        assert set(sampler.items[known[row]].tolist()) == set(history[: history.index(target) + 1])


def test_users_of_one_engagement_have_nothing_to_teach(tmp_path: Path) -> None:
    alone = ring()
    first = np.unique(alone.users, return_index=True)[1]
    kept = np.zeros(len(alone), np.bool_)
    kept[first] = True
    with pytest.raises(DataError, match="No user engaged with two items"):
        train_user_tower(fresh(), content(), alone.where(kept), CONFIG, tmp_path)


def test_with_nobody_to_hold_out_it_trains_to_the_end(tmp_path: Path) -> None:
    few = ring()
    place = np.concatenate([np.arange(length) for length in few.histories().lengths])
    progress = train_user_tower(fresh(), content(), few.where(place < 2), CONFIG, tmp_path)
    assert progress.kept_step == CONFIG.steps == 120
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]
