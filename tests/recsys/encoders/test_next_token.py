from __future__ import annotations

import torch

from recsys.encoders.next_token import next_token


def test_greedy_takes_the_likeliest() -> None:
    assert next_token(torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])).tolist() == [1, 0]


def test_the_nucleus_is_the_smallest_set_of_that_probability() -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.15, 0.3])
    drawn = next_token(probabilities.log().expand(20_000, -1), 0.75, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(share, torch.tensor([0.0, 0.5, 0.0, 0.3]) / 0.8, atol=0.02, rtol=0)


def test_one_token_that_is_likely_enough_is_always_taken() -> None:
    logits = torch.tensor([[5.0, 0.0, -torch.inf]]).expand(1000, -1)
    assert set(next_token(logits, 0.9, torch.Generator().manual_seed(1)).tolist()) == {0}
    assert 2 not in next_token(logits, 1.0, torch.Generator().manual_seed(1)).tolist()
