"""Projectors: bring the states of a picture's parts into the embedding space of a language model (2310.03744)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig

INITIAL_SPREAD = 0.02  # of learned queries: at zero they would all stay alike


class ProjectorConfig(BaseConfig):
    """LLaVA's is ``linear``, LLaVA-1.5's an ``mlp`` of two layers; a ``resampler`` makes pictures short."""

    kind: Literal["linear", "mlp", "resampler"] = "mlp"
    layers: int = Field(default=2, ge=1)  # mlp
    queries: int = Field(default=16, ge=1)  # resampler: tokens a picture
    heads: int = 4  # resampler


class Resampler(nn.Module):
    """Learned queries that look at a picture's states: as many tokens as queries, however many states there are.

    One block of cross-attention and a feed-forward network, as in the Perceiver (2103.03206).

    Args:
        input_width: of the states.
        width: of the tokens.
        queries: how many tokens.
        heads: of the attention.
    """

    def __init__(self, input_width: int, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(INITIAL_SPREAD * torch.randn(queries, width))
        self.states_norm = nn.LayerNorm(input_width)
        self.queries_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(input_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Tokens ``[n, queries, width]`` of states ``[n, t, input_width]``."""
        query = self.query(self.queries_norm(self.queries)).expand(len(states), -1, -1)
        key, value = self.key_value(self.states_norm(states)).chunk(2, dim=-1)
        split = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        tokens = self.queries + self.out(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))
        out: Tensor = tokens + self.feed_forward(tokens)
        return out


def make_projector(config: ProjectorConfig, input_width: int, width: int) -> nn.Module:
    """A projector of states ``[n, t, input_width]`` to tokens ``[n, t or queries, width]``."""
    if config.kind == "resampler":
        return Resampler(input_width, width, config.queries, config.heads)
    if config.kind == "linear":
        return nn.Linear(input_width, width)
    layers: list[nn.Module] = [nn.Linear(input_width, width)]
    for _ in range(config.layers - 1):
        layers += [nn.GELU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)
