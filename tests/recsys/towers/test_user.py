from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.user import STRENGTHS, UserTower, UserTowerConfig, nearest, newest, strength_numbers
from recsys.types import NO_ROW, Histories, IdMap

CONFIG = UserTowerConfig(width=8, last=4, layers=1, heads=2, interests=2)


def content(n: int = 12, fingerprint: str = "content") -> EmbeddingTable:
    vectors = np.random.default_rng(0).standard_normal((n, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[5] = 0
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(n)), vectors, fingerprint)


def tower(config: UserTowerConfig = CONFIG, trained: int = 10) -> UserTower:
    torch.manual_seed(0)
    made = UserTower(6, IdMap.of(f"i{row}" for row in range(trained)), config, "content")
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim >= 2:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


def test_the_newest_engagements_stand_oldest_first_and_padding_at_the_end() -> None:
    histories = Histories.of([[1, 2, 3, 4, 5], [], [7, 8]])
    histories.weights[:] = [1, 1, 2, 3.5, 4, 1, 0.5]
    rows, strengths, counts = newest(histories, 3)
    assert rows.tolist() == [[3, 4, 5], [NO_ROW] * 3, [7, 8, NO_ROW]]
    assert counts.tolist() == [3, 0, 2]
    assert [STRENGTHS[number] for number in strengths[0]] == [2, 3, 4]
    assert strength_numbers(np.array([0.1, 1, 2.5, 99])).tolist() == [0, 0, 1, len(STRENGTHS) - 1]


def test_an_item_is_the_unit_vector_of_content_plus_a_residual_that_new_ones_share() -> None:
    made, table = tower(), content()
    vectors = made.item_vectors(table)
    assert made.residual is not None
    inner = torch.from_numpy(table.vectors) @ made.project.inner.weight.T
    projected = torch.from_numpy(table.vectors) @ made.project.linear.weight.T
    projected = projected + torch.nn.functional.gelu(inner) @ made.project.outer.weight.T
    whole = (projected + made.residual.weight[[*range(10), 10, 10]]).detach().numpy()
    np.testing.assert_allclose(vectors, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


def test_an_item_of_which_nothing_is_known_has_no_vector() -> None:
    table = content()
    alone = tower(CONFIG.model_copy(update={"residual": False})).item_vectors(table)
    np.testing.assert_array_equal(alone[5], 0)
    table.vectors[11] = 0
    vectors = tower().item_vectors(table)
    np.testing.assert_array_equal(vectors[11], 0)  # neither content nor a residual of its own
    assert np.linalg.norm(vectors[5]) == pytest.approx(1, abs=1e-6)


def test_later_engagements_do_not_change_what_was_said_before_them() -> None:
    made = tower()
    vectors = torch.from_numpy(made.item_vectors(content())[[0, 1, 2, 3]])[None]
    strengths = torch.zeros(1, 4, dtype=torch.long)
    before = made.states(vectors[:, :2], strengths[:, :2])
    after = made.states(vectors, strengths)
    torch.testing.assert_close(after[:, :2], before)
    torch.testing.assert_close(after.norm(dim=-1), torch.ones(1, 4, 2))
    stronger = made.states(vectors, strengths + torch.tensor([0, 1, 0, 0]))
    assert not torch.allclose(stronger[:, 1:], after[:, 1:], atol=1e-3)
    torch.testing.assert_close(stronger[:, 0], after[:, 0])


def test_a_user_is_alone_as_among_others_and_a_stranger_has_no_vector() -> None:
    made = tower()
    items = made.item_vectors(content())
    histories = Histories.of([[0, 1, 2, 3, 4, 6], [], [11], [2, 9]])
    together = made.user_vectors(histories, items)
    assert together.shape == (4, 2, 8)
    np.testing.assert_array_equal(together[1], 0)
    for user in (0, 2, 3):
        alone = made.user_vectors(histories.slice(user, user + 1), items)[0]
        np.testing.assert_allclose(together[user], alone, atol=1e-6)
    np.testing.assert_allclose(  # only the newest four count
        together[0], made.user_vectors(Histories.of([[2, 3, 4, 6]]), items)[0], atol=1e-6
    )


def test_nearest_takes_the_better_interest() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert nearest(users, torch.tensor([[0.6, 0.8], [1.0, 0.0]])).tolist() == [[pytest.approx(0.8), 1.0]]


def test_training_takes_items_for_new_as_often_as_said() -> None:
    made = tower(CONFIG.model_copy(update={"residual_dropout": 0.3}))
    rows = torch.from_numpy(content().vectors[:1]).expand(4000, -1)
    new = made.items(rows[:1], torch.tensor([10]))
    made.train()
    vectors = made.items(rows, torch.zeros(4000, dtype=torch.long))
    assert (vectors - new).abs().amax(dim=1).lt(1e-5).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    made, table = tower(), content()
    with pytest.raises(ArtifactError, match="no fingerprint yet"):
        made.item_table(table)
    made.save(tmp_path)
    again = UserTower.load(tmp_path)
    items = made.item_table(table)
    assert again.fingerprint == made.fingerprint == items.fingerprint
    np.testing.assert_array_equal(again.item_table(table).vectors, items.vectors)
    histories = Histories.of([[1, 2], [11]])
    np.testing.assert_array_equal(
        again.user_vectors(histories, items.vectors), made.user_vectors(histories, items.vectors)
    )


def test_other_content_a_missing_tower_and_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made = tower()
    made.save(tmp_path)
    with pytest.raises(ArtifactError, match="another tower"):
        made.item_table(content(fingerprint="other"))
    with pytest.raises(ArtifactError, match="no user tower in"):
        UserTower.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="width of 8 does not divide among 3 heads"):
        tower(CONFIG.model_copy(update={"heads": 3}))
