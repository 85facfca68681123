from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.training import newcomers
from recsys.training.newcomers import welcome_newcomers
from recsys.types import Histories, IdMap

N_ITEMS, TRAINED = 2000, 1800


def content() -> EmbeddingTable:
    vectors = np.random.default_rng(1).standard_normal((N_ITEMS, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(N_ITEMS)), vectors, "content")


def tower(config: UserTowerConfig) -> UserTower:
    """One whose trained items have in common what all users like."""
    torch.manual_seed(0)
    made = UserTower(8, IdMap.of(f"i{row}" for row in range(TRAINED)), config, "content").eval()
    liked = torch.nn.functional.normalize(torch.randn(config.width), dim=0)
    with torch.no_grad():
        made.interests.bias += 2 * liked.repeat(config.interests)
        if made.residual is not None:
            made.residual.weight[:TRAINED] += 0.5 * liked
    return made


def people() -> Histories:
    random = np.random.default_rng(2)
    return Histories.of([random.choice(TRAINED, 5, replace=False).tolist() for _ in range(300)])


def places_of_new(made: UserTower) -> float:
    """Share of the new items among the first of the whole catalogue."""
    items = EmbeddingTable(content().ids, made.item_vectors(content()), "")
    rows = UserTowerSource(made, items, ExactIndex(items)).retrieve(people(), newcomers.PLACES).rows
    return float((rows >= TRAINED).mean())


@pytest.mark.parametrize("interests", [1, 2])
def test_items_it_never_saw_get_the_share_that_was_asked_for(interests: int) -> None:
    config = UserTowerConfig(width=16, last=5, layers=1, hidden=8, interests=interests)
    made = tower(config)
    assert places_of_new(made) < 0.02
    trained = made.item_vectors(content())[:TRAINED]
    fair = (N_ITEMS - TRAINED) / N_ITEMS
    for share in (1.0, 2.0):
        welcome_newcomers(made, content(), people(), share, seed=0)
        assert places_of_new(made) == pytest.approx(share * fair, rel=0.4)
    np.testing.assert_array_equal(made.item_vectors(content())[:TRAINED], trained)


def test_it_ends_where_it_ends_wherever_it_starts() -> None:
    config = UserTowerConfig(width=16, last=5, layers=1, hidden=8)
    once, twice = tower(config), tower(config)
    welcome_newcomers(once, content(), people(), 1.0, seed=0)
    for _ in range(2):
        welcome_newcomers(twice, content(), people(), 1.0, seed=0)
    assert places_of_new(twice) == pytest.approx(places_of_new(once), rel=0.2)


def test_without_residuals_without_users_and_without_content_nothing_changes() -> None:
    config = UserTowerConfig(width=16, last=5, layers=1, hidden=8)
    nothing = EmbeddingTable(content().ids, np.zeros_like(content().vectors), "content")
    cases = [
        (config.model_copy(update={"residual": False}), content(), people()),
        (config, content(), Histories.of([[], []])),
        (config, nothing, people()),
    ]
    for each, table, histories in cases:
        made = tower(each)
        before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
        welcome_newcomers(made, table, histories, 1.0, seed=0)
        for name, tensor in made.state_dict().items():
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
