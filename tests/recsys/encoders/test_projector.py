from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recsys.encoders.projector import ProjectorConfig, Resampler, make_projector


def test_linear_and_mlp_are_the_written_out_formulas() -> None:
    states = torch.randn(2, 5, 6)
    linear = make_projector(ProjectorConfig(kind="linear"), 6, 8)
    assert isinstance(linear, nn.Linear)
    torch.testing.assert_close(linear(states), states @ linear.weight.T + linear.bias)
    mlp = make_projector(ProjectorConfig(kind="mlp", layers=3), 6, 8)
    first, second, third = (module for module in mlp.children() if isinstance(module, nn.Linear))
    torch.testing.assert_close(mlp(states), third(F.gelu(second(F.gelu(first(states))))))


def test_a_resampler_attends_like_the_reference() -> None:
    resampler = Resampler(6, 8, queries=3, heads=2)
    states = torch.randn(2, 5, 6)
    oracle = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    key, value = resampler.key_value.weight.chunk(2)
    with torch.no_grad():
        oracle.q_proj_weight.copy_(resampler.query.weight)
        oracle.k_proj_weight.copy_(key)
        oracle.v_proj_weight.copy_(value)
        oracle.in_proj_bias.copy_(torch.cat([resampler.query.bias, resampler.key_value.bias]))
        oracle.out_proj.load_state_dict(resampler.out.state_dict())
        seen = resampler.states_norm(states)
        asked = resampler.queries_norm(resampler.queries).expand(2, -1, -1)
        tokens = resampler.queries + oracle(asked, seen, seen)[0]
        expected = tokens + resampler.feed_forward(tokens)
        torch.testing.assert_close(resampler(states), expected)


@pytest.mark.parametrize(("kind", "tokens"), [("linear", 5), ("mlp", 5), ("resampler", 3)])
def test_every_kind_trains_whole_and_tells_pictures_apart(kind: str, tokens: int) -> None:
    torch.manual_seed(0)
    projector = make_projector(ProjectorConfig.model_validate({"kind": kind, "queries": 3, "heads": 2}), 6, 8)
    out = projector(torch.randn(2, 5, 6))
    assert out.shape == (2, tokens, 8)
    assert (out[0] - out[1]).abs().max() > 1e-3
    (out @ torch.randn(8)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in projector.parameters())


def test_queries_differ_from_the_start() -> None:
    resampler = Resampler(6, 8, queries=4, heads=2)
    assert torch.pdist(resampler.queries.detach()).min() > 1e-3
