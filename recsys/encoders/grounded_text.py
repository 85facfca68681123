"""GroundedText: a GroundedBert with its tokenizer, which knows the tokens that tell the three roles apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from torch import Tensor, nn

from recsys.config import BaseConfig
from recsys.encoders.blip_checkpoint import fill_from_bert, fill_from_blip, grounded_sizes
from recsys.encoders.grounded_bert import GroundedBert, GroundedBertSizes, KeysValues, Seen, pick
from recsys.encoders.hub_weights import hub_config, hub_weights
from recsys.encoders.next_token import next_token
from recsys.encoders.tokenizer import (
    CLS,
    MASK,
    PAD,
    PAD_ID,
    SEP,
    UNK,
    load_tokenizer,
    token_ids,
    train_tokenizer,
)
from recsys.exceptions import ConfigError

DEC, ENC = ROLE_TOKENS = ("[DEC]", "[ENC]")  # in the order in which BLIP's vocabulary has them
FEWEST_TOGETHER, MOST_PARTS = 32, 6  # texts are read in parts of like length

_BETWEEN_CHINESE = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef]) +(?=[\u3000-\u9fff\uff00-\uffef])")


class GroundedTextConfig(BaseConfig):
    """A text model trained from scratch; a BERT checkpoint brings its own sizes, but for ``max_tokens``."""

    checkpoint: Path | None = None  # of a BERT
    max_tokens: int = Field(default=48, ge=4)
    vocab_size: int = Field(default=8000, ge=100)
    width: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)


class GroundedText(nn.Module):
    """Reads texts alone ([CLS]), beside pictures ([ENC]), and writes them ([DEC]).

    Args:
        bert: the network; its vocabulary covers the tokenizer's.
        tokenizer: with both role tokens, see :func:`with_roles`.
        max_tokens: longer texts are cut.
    """

    def __init__(self, bert: GroundedBert, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.bert = bert
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, bert.sizes.positions)
        self.pad_id = tokenizer.token_to_id(PAD) or PAD_ID
        self.end_id, self.write_id, self.match_id = (_id(tokenizer, token) for token in (SEP, *ROLE_TOKENS))
        unspoken = [tokenizer.token_to_id(token) for token in (PAD, UNK, CLS, MASK, *ROLE_TOKENS)]
        unspoken = [number for number in unspoken if number is not None]
        unspoken += range(tokenizer.get_vocab_size(), bert.sizes.vocab_size)
        self.register_buffer("unspoken", torch.tensor(unspoken), persistent=False)

    unspoken: Tensor

    @classmethod
    def create(cls, config: GroundedTextConfig, image_width: int, corpus: Sequence[str]) -> GroundedText:
        """From a BERT checkpoint, or fresh weights and a tokenizer trained on ``corpus``.

        Raises:
            ConfigError: the checkpoint is no BERT.
        """
        if config.checkpoint is not None:
            settings = hub_config(config.checkpoint)
            if settings.get("model_type") != "bert":
                raise ConfigError(f"{config.checkpoint} is no BERT.", "Give a BERT, or a whole BLIP as `checkpoint`.")
            tokenizer = with_roles(load_tokenizer(config.checkpoint))
            bert = GroundedBert(_covering(grounded_sizes(settings, image_width), tokenizer))
            fill_from_bert(bert, hub_weights(config.checkpoint))
            return cls(bert, tokenizer, config.max_tokens)
        tokenizer = with_roles(train_tokenizer(corpus, config.vocab_size))
        sizes = GroundedBertSizes(
            vocab_size=tokenizer.get_vocab_size(),
            image_width=image_width,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            inner_width=4 * config.width,
            positions=config.max_tokens,
            dropout=config.dropout,
        )
        return cls(GroundedBert(sizes), tokenizer, config.max_tokens)

    @classmethod
    def from_blip(cls, path: Path, weights: Mapping[str, Tensor], image_width: int, max_tokens: int) -> GroundedText:
        """The text side of a BLIP checkpoint.

        Args:
            path: its folder, in the hub's format.
            weights: all of its tensors.
            image_width: of the states it looks at.
            max_tokens: longer texts are cut.
        """
        tokenizer = with_roles(load_tokenizer(path))
        sizes = grounded_sizes(hub_config(path)["text_config"], image_width)
        bert = GroundedBert(_covering(sizes, tokenizer))
        fill_from_blip(bert, weights)
        return cls(bert, tokenizer, max_tokens)

    def describe(self) -> dict[str, Any]:
        """Everything but weights and tokenizer, as JSON."""
        return {"sizes": self.bert.sizes.model_dump(), "max_tokens": self.max_tokens}

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> GroundedText:
        """Fresh weights in the shape that :meth:`describe` told."""
        bert = GroundedBert(GroundedBertSizes(**description["sizes"]))
        return cls(bert, tokenizer, description["max_tokens"])

    @property
    def width(self) -> int:
        return self.bert.sizes.width

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids, int32 ``[n, max_tokens]``."""
        return token_ids(self.tokenizer, texts, self.max_tokens)

    def longest(self, tokens: Tensor) -> int:
        """Length of the longest text without its padding."""
        return int((tokens != self.pad_id).sum(dim=1).max().clamp(min=1)) if len(tokens) else 1

    def forward(self, tokens: Tensor, bert: GroundedBert | None = None) -> Tensor:
        """The [CLS] states ``[n, width]`` of texts read alone.

        Args:
            tokens: ids ``[n, length]`` as :meth:`tokens` gives them.
            bert: reads with these weights instead, such as a momentum copy.
        """
        return self._first(bert or self.bert, tokens)

    def beside(self, tokens: Tensor, pictures: list[Seen], which: Tensor | None = None) -> Tensor:
        """The [ENC] states ``[n, width]`` of texts read beside pictures.

        Args:
            tokens: ids ``[n, length]`` as :meth:`tokens` gives them.
            pictures: from :meth:`recsys.encoders.grounded_bert.GroundedBert.look`.
            which: the picture beside each text, int ``[n]``; default: the one in its row.
        """
        own = torch.arange(len(tokens), device=tokens.device)
        return self._first(self.bert, self._led_by(self.match_id, tokens), pictures, own if which is None else which)

    def predict(self, tokens: Tensor, pictures: list[Seen]) -> tuple[Tensor, Tensor, Tensor]:
        """Next-token logits at every place that has a next token; none are computed for padding.

        Args:
            tokens: ids ``[n, length]`` as :meth:`tokens` gives them.
            pictures: one a text.

        Returns:
            Logits ``[m, vocab_size]``, the tokens that follow ``[m]``, and the row of each ``[m]``, row by row.
        """
        tokens = self._led_by(self.write_id, tokens)
        found = []
        for rows in self._by_length(tokens):
            some = self._cut(tokens[rows])
            hidden, _ = self.bert.write(some[:, :-1], pick(pictures, rows))
            labels = some[:, 1:].long()
            row, place = (labels != self.pad_id).nonzero(as_tuple=True)
            found.append((hidden[row, place], labels[row, place], rows[row]))
        hidden, labels, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = rows.argsort(stable=True)
        return self.bert.logits(hidden[order]), labels[order], rows[order]

    @torch.no_grad()
    def write(
        self,
        pictures: list[Seen],
        max_tokens: int,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]:
        """A text for each picture, see :func:`recsys.encoders.next_token.next_token`."""
        device = self.unspoken.device
        n = len(pictures[0] if isinstance(pictures[0], Tensor) else pictures[0][0])
        token = torch.full((n, 1), self.write_id, device=device)
        ended = torch.zeros(n, dtype=torch.bool, device=device)
        past: list[KeysValues] | None = None
        written = []
        for _ in range(min(max_tokens, self.bert.sizes.positions)):
            hidden, past = self.bert.write(token, pictures, past)
            logits = self.bert.logits(hidden[:, -1]).index_fill(1, self.unspoken, -torch.inf)
            token = torch.where(ended, self.end_id, next_token(logits, top_p, random))[:, None]
            written.append(token)
            ended = ended | (token[:, 0] == self.end_id)
            if bool(ended.all()):
                break
        return self.texts(torch.cat(written, dim=1)) if written else [""] * n

    def texts(self, tokens: Tensor) -> list[str]:
        """Written token ids ``[n, length]`` as text, up to the first end."""
        ids = [row[: row.index(self.end_id)] if self.end_id in row else row for row in tokens.tolist()]
        return [_BETWEEN_CHINESE.sub("", text) for text in self.tokenizer.decode_batch(ids)]

    def _first(
        self, bert: GroundedBert, tokens: Tensor, pictures: list[Seen] | None = None, which: Tensor | None = None
    ) -> Tensor:
        if len(tokens) == 0:
            return torch.zeros(0, self.width, device=tokens.device)
        parts = self._by_length(tokens)
        states = []
        for rows in parts:
            some = self._cut(tokens[rows])
            beside = None if pictures is None or which is None else pick(pictures, which[rows])
            states.append(bert.read(some, some != self.pad_id, beside)[:, 0])
        return torch.cat(states)[torch.cat(parts).argsort()]

    def _by_length(self, tokens: Tensor) -> list[Tensor]:
        """Rows in parts of like length, which spares most of the padding."""
        order = (tokens != self.pad_id).sum(dim=1).argsort(stable=True)
        return list(order.split(max(FEWEST_TOGETHER, -(-len(order) // MOST_PARTS))))

    def _cut(self, tokens: Tensor) -> Tensor:
        """Without the columns that are padding in every row."""
        return tokens[:, : self.longest(tokens)]

    def _led_by(self, role: int, tokens: Tensor) -> Tensor:
        return torch.cat([torch.full_like(tokens[:, :1], role), tokens[:, 1:]], dim=1)


def with_roles(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, knowing [DEC] and [ENC] and how to join word pieces."""
    tokenizer.add_special_tokens(list(ROLE_TOKENS))
    if tokenizer.decoder is None:
        tokenizer.decoder = WordPieceDecoder()
    return tokenizer


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ConfigError(f"The tokenizer knows no {token}.", "Give a checkpoint with a tokenizer like BERT's.")
    return found


def _covering(sizes: GroundedBertSizes, tokenizer: Tokenizer) -> GroundedBertSizes:
    return sizes.model_copy(update={"vocab_size": max(sizes.vocab_size, tokenizer.get_vocab_size())})
