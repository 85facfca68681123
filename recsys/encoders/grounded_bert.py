"""GroundedBert: one BERT in three roles, reading a text, reading it beside a picture, and writing it (2201.12086).

The roles share embeddings, cross-attention and feed-forward; writing has self-attention of its own, since looking back
differs most from looking around. Every attention is PyTorch's fused one.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig
from recsys.encoders.attention import attend

INITIAL_STD = 0.02  # at BERT's width
BERT_WIDTH = 768

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one attention layer, each ``[n, heads, t, width / heads]``."""

Seen = KeysValues | Tensor
"""What one layer's cross-attention sees of n pictures: keys and values, or the states ``[n, t, image_width]``."""


class GroundedBertSizes(BaseConfig):
    """The shape of a :class:`GroundedBert`."""

    vocab_size: int
    image_width: int  # of the states it looks at
    width: int
    layers: int
    heads: int
    inner_width: int  # of the feed-forward layers
    positions: int
    dropout: float = 0.1
    epsilon: float = 1e-12  # of the layer normalisation


class _Residual(nn.Module):
    """Projects back, drops out, adds and normalises: how every part of a BERT layer ends."""

    def __init__(self, inner_width: int, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.output = nn.Linear(inner_width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.epsilon)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, inner: Tensor, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.norm(hidden + self.dropout(self.output(inner))))


class SelfAttention(nn.Module):
    def __init__(self, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query_key_value = nn.Linear(sizes.width, 3 * sizes.width)
        self.residual = _Residual(sizes.width, sizes)

    def forward(
        self, hidden: Tensor, mask: Tensor | None = None, causal: bool = False, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        query, key, value = (_split(part, self.heads) for part in self.query_key_value(hidden).chunk(3, dim=-1))
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        seen = attend(query, key, value, mask, causal and past is None)
        return self.residual(_join(seen), hidden), (key, value)


class CrossAttention(nn.Module):
    def __init__(self, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query = nn.Linear(sizes.width, sizes.width)
        self.key_value = nn.Linear(sizes.image_width, 2 * sizes.width)
        self.residual = _Residual(sizes.width, sizes)

    def look(self, states: Tensor) -> KeysValues:
        key, value = (_split(part, self.heads) for part in self.key_value(states).chunk(2, dim=-1))
        return key, value

    def forward(self, hidden: Tensor, picture: Seen) -> Tensor:
        query = _split(self.query(hidden), self.heads)
        seen = self._among_states(query, picture) if isinstance(picture, Tensor) else attend(query, *picture)
        return cast(Tensor, self.residual(_join(seen), hidden))

    def _among_states(self, query: Tensor, states: Tensor) -> Tensor:
        """The same attention with few queries: they go to the states, so that no state has to be projected.

        ``q (s K)^T = (q K^T) s^T``, and a weighted mean of ``s V + b`` is ``(weighted mean of s) V + b``. The bias of
        the keys is the same for all of them, which softmax does not see.
        """
        n, heads, length, narrow = query.shape
        to_key, to_value = (part.view(heads, narrow, -1) for part in self.key_value.weight.chunk(2))
        scaled = (query @ to_key * narrow**-0.5).view(n, 1, heads * length, -1)
        mean = attend(scaled * states.size(-1) ** 0.5, states[:, None], states[:, None])
        bias = self.key_value.bias.chunk(2)[1].view(heads, 1, narrow)
        return mean.view(n, heads, length, -1) @ to_value.transpose(1, 2) + bias


class FeedForward(nn.Module):
    def __init__(self, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.inner = nn.Linear(sizes.width, sizes.inner_width)
        self.residual = _Residual(sizes.inner_width, sizes)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.residual(F.gelu(self.inner(hidden)), hidden))


class GroundedLayer(nn.Module):
    def __init__(self, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.attention = SelfAttention(sizes)
        self.writing_attention = SelfAttention(sizes)
        self.cross_attention = CrossAttention(sizes)
        self.feed_forward = FeedForward(sizes)


class GroundedBert(nn.Module):
    """Reads texts, alone or beside pictures, and writes them.

    Args:
        sizes: its shape; the weights are fresh.
    """

    def __init__(self, sizes: GroundedBertSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.words = nn.Embedding(sizes.vocab_size, sizes.width)
        self.places = nn.Embedding(sizes.positions, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.epsilon)
        self.dropout = nn.Dropout(sizes.dropout)
        self.layers = nn.ModuleList(GroundedLayer(sizes) for _ in range(sizes.layers))
        self.head = nn.Linear(sizes.width, sizes.width)
        self.head_norm = nn.LayerNorm(sizes.width, eps=sizes.epsilon)
        self.head_bias = nn.Parameter(torch.zeros(sizes.vocab_size))
        spread = INITIAL_STD * (BERT_WIDTH / sizes.width) ** 0.5  # so that a narrow one passes as much on
        self.apply(partial(_initialise, spread=spread))

    def look(self, states: Tensor, longest: int | None = None) -> list[Seen]:
        """What every layer's cross-attention sees of pictures, to be used by any number of texts.

        Args:
            states: of the pictures' parts, ``[n, t, image_width]``.
            longest: where each picture is used by one text only, the tokens of the longest; short ones are cheaper
                without keys and values.
        """
        if longest is not None and 2 * longest < self.sizes.width // self.sizes.heads:
            return [states] * self.sizes.layers
        return [layer.cross_attention.look(states) for layer in self._layers]

    def read(self, tokens: Tensor, mask: Tensor, pictures: list[Seen] | None = None) -> Tensor:
        """Hidden states ``[n, length, width]``.

        Args:
            tokens: ids ``[n, length]``.
            mask: True where there is a token, bool ``[n, length]``.
            pictures: one beside each text, from :meth:`look`; without them the text is read alone.
        """
        hidden = self._embed(tokens, 0)
        attended = None if bool(mask.all()) else mask[:, None, None, :]
        for number, layer in enumerate(self._layers):
            hidden, _ = layer.attention(hidden, attended)
            if pictures is not None:
                hidden = layer.cross_attention(hidden, pictures[number])
            hidden = layer.feed_forward(hidden)
        return hidden

    def write(
        self, tokens: Tensor, pictures: list[Seen], past: list[KeysValues] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Hidden states ``[n, length, width]`` that know only the tokens before, and what the next call needs of them.

        Padding, which stands at the end, is not masked: no token before it sees it.

        Args:
            tokens: ids ``[n, length]``; after ``past``, the one new token of each row, ``[n, 1]``.
            pictures: one beside each text, from :meth:`look`.
            past: what an earlier call returned.
        """
        hidden = self._embed(tokens, 0 if past is None else past[0][0].size(2))
        present = []
        for number, layer in enumerate(self._layers):
            hidden, kept = layer.writing_attention(hidden, causal=True, past=None if past is None else past[number])
            hidden = layer.feed_forward(layer.cross_attention(hidden, pictures[number]))
            present.append(kept)
        return hidden, present

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token, ``[..., vocab_size]``; the output weights are the word embeddings."""
        return F.linear(self.head_norm(F.gelu(self.head(hidden))), self.words.weight, self.head_bias)

    def reading_part(self) -> GroundedBert:
        """A copy that can only read texts alone: without cross-attention, writing and output head."""
        part = deepcopy(self)
        for layer in part._layers:
            del layer.writing_attention, layer.cross_attention
        del part.head, part.head_norm, part.head_bias
        return part

    @property
    def _layers(self) -> list[GroundedLayer]:
        return cast(list[GroundedLayer], list(self.layers))

    def _embed(self, tokens: Tensor, start: int) -> Tensor:
        places = self.places.weight[start : start + tokens.size(1)]
        return cast(Tensor, self.dropout(self.norm(self.words(tokens) + places)))


def pick(pictures: list[Seen], rows: Tensor) -> list[Seen]:
    """What :meth:`GroundedBert.look` saw of the pictures at ``rows``, int ``[m]``; a row may occur many times."""
    return [one[rows] if isinstance(one, Tensor) else (one[0][rows], one[1][rows]) for one in pictures]


def _split(hidden: Tensor, heads: int) -> Tensor:
    return hidden.view(*hidden.shape[:-1], heads, hidden.size(-1) // heads).transpose(1, 2)


def _join(hidden: Tensor) -> Tensor:
    return hidden.transpose(1, 2).flatten(2)


def _initialise(module: nn.Module, spread: float) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=spread)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
