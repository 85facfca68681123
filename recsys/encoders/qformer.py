"""Q-Former: learned queries that look at a picture, and a BERT that shares its self-attention with them (2301.12597).

What is asked of it:

- :meth:`QFormer.look`, then :meth:`QFormer.ask`: the queries alone with a picture, once a picture for all purposes;
- :meth:`QFormer.read`: a text alone;
- :meth:`QFormer.match`: queries and text see each other;
- :meth:`QFormer.tell`: text that sees the queries and its own past. The queries do not see the text there, so their
  keys and values are the ones that ``ask`` computed.

Everything runs in float32, whatever precision is on around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig
from recsys.encoders.causal_lm import readable_wordpiece
from recsys.encoders.qformer_masks import bi_directional, multimodal_causal, uni_modal
from recsys.encoders.tokenizer import CLS, PAD, SEP, pad_id, token_ids

START = "[DEC]"  # stands for [CLS] where the text is to be written
INITIAL_STD = 0.02
BERT_WIDTH = 768  # where BERT's spread is right; in a narrow model it would drown what is seen in the residual


class QFormerConfig(BaseConfig):
    """A Q-Former trained from scratch, or on top of a BERT, which brings its own sizes but for ``max_tokens``."""

    checkpoint: Path | None = None  # a BERT in the hub's format
    max_tokens: int = Field(default=48, ge=4)
    vocab_size: int = Field(default=8000, ge=100)
    width: int = 128
    layers: int = Field(default=4, ge=1)
    heads: int = 4
    queries: int = Field(default=16, ge=1)
    cross_every: int = Field(default=2, ge=1)  # every how many layers the queries look at the picture
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Attention(nn.Module):
    """Multi-head attention with BERT's residual and norm behind it.

    Args:
        width: of the states.
        heads: must divide the width.
        dropout: of the result. Not of the weights: that would keep a CPU from its fused attention.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = nn.Dropout(dropout)
        self.query = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, states: Tensor, keys_values: Tensor, mask: Tensor | None) -> Tensor:
        """States ``[n, l, width]`` after looking at keys and values ``[n, m, 2 * width]``; mask as SDPA's."""
        query = self.query(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = keys_values.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        return self.norm(states + self.dropout(self.output(seen)))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """BERT's two linear layers with residual and norm."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        return self.norm(states + self.dropout(self.down(F.gelu(self.up(states)))))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention that queries and text share, cross-attention that only queries have, a feed-forward for each."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float, crosses: bool) -> None:
        super().__init__()
        self.keys_values = nn.Linear(width, 2 * width)
        self.attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout) if crosses else None
        self.query_feed = FeedForward(width, inner, dropout)
        self.text_feed = FeedForward(width, inner, dropout)


class QFormer(nn.Module):
    """See the head of the file. Shapes: q queries, t picture states, c layers with cross-attention.

    Args:
        tokenizer: BERT-style; :data:`START` is added where it is missing.
        image_width: of the picture's states.
        max_tokens: longer texts are cut.
        width: of its states.
        layers: how many.
        heads: of every attention.
        queries: q.
        cross_every: the first and then every so-many-th layer has cross-attention.
        dropout: in training.
        inner: of the feed-forward layers; default: four times the width.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        image_width: int,
        max_tokens: int,
        width: int,
        layers: int,
        heads: int,
        queries: int,
        cross_every: int,
        dropout: float,
        inner: int | None = None,
    ) -> None:
        super().__init__()
        tokenizer.add_special_tokens([PAD, CLS, SEP, START])
        tokenizer.encode_special_tokens = True  # what a user writes stays text
        tokenizer.decoder = readable_wordpiece()
        inner = inner or 4 * width
        self.sizes = {
            "image_width": image_width,
            "max_tokens": max_tokens,
            "width": width,
            "layers": layers,
            "heads": heads,
            "queries": queries,
            "cross_every": cross_every,
            "dropout": dropout,
            "inner": inner,
        }
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.width = width
        self.pad_id = pad_id(tokenizer)
        self.start_id, self.end_id = (cast(int, tokenizer.token_to_id(name)) for name in (START, SEP))
        crosses = [index % cross_every == 0 for index in range(layers)]
        self.query_tokens = nn.Parameter(torch.empty(queries, width))
        self.words = nn.Embedding(tokenizer.get_vocab_size(), width)
        self.positions = nn.Embedding(max_tokens, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.memory = nn.Linear(image_width, sum(crosses) * 2 * width)
        self.layers = nn.ModuleList(Layer(width, inner, heads, dropout, cross) for cross in crosses)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-12))
        self.head_bias = nn.Parameter(torch.zeros(len(self.words.weight)))
        nn.init.normal_(self.query_tokens, std=INITIAL_STD)  # zeros would stay one and the same query for ever
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_STD * (BERT_WIDTH / module.in_features) ** 0.5)
                nn.init.zeros_(module.bias)

    def describe(self) -> dict[str, Any]:
        """Sizes, as JSON; the tokenizer and the weights are saved beside it."""
        return dict(self.sizes)

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> QFormer:
        """Fresh weights in the shape that :meth:`describe` told."""
        return cls(tokenizer, **description)

    def query_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that decide what :meth:`ask` gives, and no others."""
        yield self.query_tokens
        for module in (self.norm, self.memory):
            yield from module.parameters()
        for layer in self.layers:
            for name, parameter in layer.named_parameters():
                if not name.startswith("text_feed."):
                    yield parameter

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids, int32 ``[n, max_tokens]``."""
        return token_ids(self.tokenizer, texts, self.max_tokens)

    def texts(self, tokens: Tensor) -> list[str]:
        """What token ids ``[n, length]`` say, as far as the tokenizer kept it."""
        return [text.strip() for text in self.tokenizer.decode_batch(tokens.tolist(), skip_special_tokens=True)]

    def cut(self, tokens: Tensor) -> Tensor:
        """Token ids without the columns that are padding everywhere; one column is left at least."""
        return tokens[:, : int((tokens != self.pad_id).sum(dim=1).max().clamp(min=1))] if len(tokens) else tokens[:, :1]

    def look(self, image_states: Tensor) -> Tensor:
        """Keys and values of a picture's states ``[n, t, image_width]`` for all layers, ``[n, t, c * 2 * width]``."""
        with torch.autocast(image_states.device.type, enabled=False):
            return self.memory(image_states.float())  # type: ignore[no-any-return]

    def ask(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What the queries make of a picture alone.

        Args:
            memory: from :meth:`look`.

        Returns:
            Their states ``[n, q, width]``, and their keys and values ``[n, q, layers * 2 * width]``.
        """
        return self._run(self._queries(len(memory)), len(self.query_tokens), memory)

    def read(self, tokens: Tensor) -> Tensor:
        """States ``[n, length, width]`` of texts alone; the first is the text's."""
        return self._run(self._embed(tokens), mask=uni_modal(0, self._real(tokens)))[0]

    def match(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """The queries' states ``[n, q, width]`` after seeing picture and text together."""
        queries = len(self.query_tokens)
        states = torch.cat([self._queries(len(tokens)), self._embed(tokens)], dim=1)
        return self._run(states, queries, memory, bi_directional(queries, self._real(tokens)))[0][:, :queries]

    def tell(self, tokens: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """States of text to be written, each of which predicts the next token.

        Args:
            tokens: :data:`START`, then the text; or what comes after the text that is in the past. ``[n, length]``.
            past: keys and values of the queries, and of earlier text: ``[n, q + earlier, layers * 2 * width]``.

        Returns:
            The states ``[n, length, width]`` and the past with these tokens added.
        """
        queries, earlier = len(self.query_tokens), past.size(1) - len(self.query_tokens)
        seen = multimodal_causal(queries, earlier + tokens.size(1), tokens.device)[queries + earlier :]
        return self._run(self._embed(tokens, earlier), mask=seen, past=past)

    def predict(self, states: Tensor) -> Tensor:
        """Logits ``[..., vocabulary]`` of the next token; the last layer is tied to the word embeddings."""
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(self.head(states), self.words.weight, self.head_bias)

    def _real(self, tokens: Tensor) -> Tensor:
        real = tokens != self.pad_id
        real[:, :1] = True  # a text of padding alone still has something to see
        return real

    def _queries(self, n: int) -> Tensor:
        return self.dropout(self.norm(self.query_tokens).expand(n, -1, -1))  # type: ignore[no-any-return]

    def _embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        positions = self.positions.weight[start : start + tokens.size(1)]
        return self.dropout(self.norm(self.words(tokens) + positions))  # type: ignore[no-any-return]

    def _run(
        self,
        states: Tensor,
        queries: int = 0,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        past: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All layers over ``[queries | text]`` or either; returns the states, and keys and values with the past's."""
        looks = iter(memory.split(2 * self.width, dim=-1)) if memory is not None else iter(())
        pasts = past.split(2 * self.width, dim=-1) if past is not None else [None] * len(self.layers)
        seen = []
        with torch.autocast(states.device.type, enabled=False):
            for layer, before in zip(self.layers, pasts, strict=True):
                assert isinstance(layer, Layer)
                now = layer.keys_values(states)
                seen.append(now if before is None else torch.cat([before, now], dim=1))
                states = layer.attention(states, seen[-1], mask)
                asking, text = states[:, :queries], states[:, queries:]
                if queries and layer.cross_attention is not None:
                    asking = layer.cross_attention(asking, next(looks), None)
                parts = [
                    feed(part) for feed, part in ((layer.query_feed, asking), (layer.text_feed, text)) if part.size(1)
                ]
                states = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return states, torch.cat(seen, dim=-1)
