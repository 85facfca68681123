from __future__ import annotations

import torch

from recsys.encoders.attention import attend


def by_hand(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    scores = query @ key.transpose(-1, -2) / query.size(-1) ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ value


def test_attention_as_written_out() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None, :]
    torch.testing.assert_close(attend(query, key, value, mask), by_hand(query, key, value, mask))
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    want = by_hand(query, key[:, :, :4], value[:, :, :4], causal)
    torch.testing.assert_close(attend(query, key[:, :, :4], value[:, :, :4], causal=True), want)


def test_half_precision_comes_back_as_it_was() -> None:
    query = torch.randn(1, 2, 3, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(query, query, query)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    full = query.detach().float()
    torch.testing.assert_close(out.float(), attend(full, full, full), atol=0.02, rtol=0.02)
    assert query.grad is not None
    assert query.grad.isfinite().all()
