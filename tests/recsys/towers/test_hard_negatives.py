from __future__ import annotations

import pytest
import torch

from recsys.towers.hard_negatives import draw_hard_negatives


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_softmax_over_what_may_be_drawn(dtype: torch.dtype) -> None:
    similarity = torch.tensor([[9.0, 0.0, 1.0, 2.0]], dtype=dtype).expand(40_000, -1)
    same = torch.tensor([[True, False, False, False]]).expand(40_000, -1)
    drawn = draw_hard_negatives(similarity, same, generator())
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    expected = torch.tensor([0.0, *torch.softmax(torch.tensor([0.0, 1.0, 2.0]), 0).tolist()])
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)


def test_never_one_of_the_same_even_where_all_else_is_hopeless() -> None:
    random = generator(1)
    ids = torch.randint(0, 4, (64,), generator=random)
    same = ids[:, None] == ids[None, :]
    similarity = torch.where(same, 1e4, -1e4) + torch.randn(64, 64, generator=random)
    for _ in range(20):
        drawn = draw_hard_negatives(similarity, same, random)
        assert (drawn >= 0).all()
        assert (ids[drawn] != ids).all()


def test_a_row_with_nothing_left_is_skipped() -> None:
    same = torch.tensor([[True, True], [True, False]])
    assert draw_hard_negatives(torch.zeros(2, 2), same, generator()).tolist() == [-1, 1]
    assert draw_hard_negatives(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), generator()).tolist() == [-1]
    assert draw_hard_negatives(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool), generator()).tolist() == [-1] * 3
    assert draw_hard_negatives(torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.bool), generator()).tolist() == []


def test_what_is_not_finite_is_not_drawn() -> None:
    similarity = torch.tensor([[float("nan"), float("inf"), 0.0], [float("nan")] * 3])
    assert draw_hard_negatives(similarity, torch.zeros(2, 3, dtype=torch.bool), generator()).tolist() == [2, -1]


def test_the_generator_decides() -> None:
    similarity, same = torch.randn(50, 50, generator=generator(2)), torch.eye(50, dtype=torch.bool)
    first = draw_hard_negatives(similarity, same, generator(3))
    assert torch.equal(first, draw_hard_negatives(similarity, same, generator(3)))
    assert not torch.equal(first, draw_hard_negatives(similarity, same, generator(4)))
