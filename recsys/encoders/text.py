"""Text encoder: a backbone with its tokenizer, from scratch or from a checkpoint in the hub's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from recsys.config import BaseConfig
from recsys.encoders.checkpoints import model_type, read_json
from recsys.encoders.dual_encoders import DUAL_ENCODERS
from recsys.encoders.quick_gelu import use_quick_gelu
from recsys.encoders.text_backbones import BACKBONES, OLD_CLIP_END, Pooling
from recsys.encoders.tokenizer import PAD_ID, load_tokenizer, pad_id, pad_with, token_ids, train_tokenizer
from recsys.exceptions import ConfigError

POOLING_FILE = "1_Pooling/config.json"
TEXTS_OF_LIKE_LENGTH = 16
"""How many texts at least are computed together on a CPU, where a padded token costs as much as a real one."""


class TextConfig(BaseConfig):
    """A BERT trained from scratch; a checkpoint brings its own kind and sizes, but for ``max_tokens``."""

    checkpoint: Path | None = None
    frozen: bool = False  # never trained
    pooling: Pooling | None = None  # of a BERT; default: as its checkpoint was trained, or the mean where it is silent
    max_tokens: int = Field(default=48, ge=4)
    vocab_size: int = Field(default=8000, ge=100)
    width: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)


class TextEncoder(nn.Module):
    """One state a text, pooled as its architecture does: a BERT by mean or first token, CLIP at the end token.

    Args:
        kind: one of :data:`recsys.encoders.text_backbones.BACKBONES`.
        backbone: of that kind.
        tokenizer: made for it.
        max_tokens: longer texts are cut. SigLIP reads a fixed length, whatever is set here.
        frozen: see :class:`TextConfig`.
        pooling: of a BERT.

    Raises:
        ConfigError: the tokenizer does not end texts where the model pools.
    """

    def __init__(
        self,
        kind: str,
        backbone: nn.Module,
        tokenizer: Tokenizer,
        max_tokens: int,
        frozen: bool = False,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        use_quick_gelu(backbone)
        self.kind = kind
        self.backbone = backbone
        self.tokenizer = tokenizer
        config = cast(Any, backbone).config
        positions: int = config.max_position_embeddings
        self.max_tokens = positions if BACKBONES[kind].full_length else min(max_tokens, positions)
        self.pooling = pooling
        if BACKBONES[kind].ends_pad:
            pad_with(tokenizer, _end_token(tokenizer, config.eos_token_id))
        self.pad_id = pad_id(tokenizer)
        self.frozen = frozen
        if frozen:
            backbone.requires_grad_(False)

    @classmethod
    def create(cls, config: TextConfig, corpus: Sequence[str]) -> TextEncoder:
        """From the checkpoint, or fresh weights and a tokenizer trained on ``corpus``."""
        if config.checkpoint is not None:
            return cls.from_checkpoint(config.checkpoint, config.max_tokens, config.frozen, config.pooling)
        tokenizer = train_tokenizer(corpus, config.vocab_size)
        bert = BACKBONES["bert"]
        sizes = bert.config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            max_position_embeddings=config.max_tokens,
            pad_token_id=PAD_ID,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
        )
        return cls("bert", bert.make(sizes), tokenizer, config.max_tokens, config.frozen, config.pooling or "mean")

    @classmethod
    def from_checkpoint(
        cls,
        path: Path,
        max_tokens: int,
        frozen: bool = False,
        pooling: Pooling | None = None,
        model: nn.Module | None = None,
    ) -> TextEncoder:
        """A text model in the hub's format, alone or as the text side of a dual encoder.

        Args:
            path: the folder.
            max_tokens: see :class:`TextConfig`.
            frozen: likewise.
            pooling: likewise.
            model: the text model of that folder, for a caller who has loaded it already.

        Raises:
            ConfigError: it is of a kind we do not know.
            ArtifactError: weights or tokenizer are missing.
        """
        kind = model_type(path)
        whole = DUAL_ENCODERS.get(kind)
        if whole is None and kind not in BACKBONES:
            known = ", ".join((*BACKBONES, *DUAL_ENCODERS))
            raise ConfigError(f"{path} holds a {kind!r} model.", f"Text encoders can be {known}.")
        if model is None:
            model = BACKBONES[kind].load(path) if whole is None else whole.load(path).text_model
        kind = kind if whole is None else whole.text
        return cls(kind, model, load_tokenizer(path), max_tokens, frozen, pooling or _trained_pooling(path))

    def describe(self) -> dict[str, Any]:
        """Everything but weights and tokenizer, as JSON."""
        return {
            "kind": self.kind,
            "backbone": cast(Any, self.backbone).config.to_diff_dict(),
            "max_tokens": self.max_tokens,
            "frozen": self.frozen,
            "pooling": self.pooling,
        }

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> TextEncoder:
        """Fresh weights in the shape that :meth:`describe` told."""
        kind = description["kind"]
        model = BACKBONES[kind].make(BACKBONES[kind].config.from_dict(description["backbone"]))  # type: ignore[attr-defined]
        names = ("max_tokens", "frozen", "pooling")
        return cls(kind, model, tokenizer, **{name: description[name] for name in names})

    @property
    def width(self) -> int:
        return int(cast(Any, self.backbone).config.hidden_size)

    def train(self, mode: bool = True) -> Self:
        """A frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids, int32 ``[n, max_tokens]``."""
        return token_ids(self.tokenizer, texts, self.max_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """States ``[n, width]`` of token ids ``[n, length]``; columns that are padding everywhere cost nothing."""
        if len(tokens) == 0:
            return torch.zeros(0, self.width, device=tokens.device)
        groups = 1 if tokens.is_cuda or BACKBONES[self.kind].full_length else len(tokens) // TEXTS_OF_LIKE_LENGTH
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if groups < 2:
                return self._states(tokens)
            order = (tokens != self.pad_id).sum(dim=1).argsort(stable=True)
            return torch.cat([self._states(tokens[part]) for part in order.tensor_split(groups)])[order.argsort()]

    def _states(self, tokens: Tensor) -> Tensor:
        return BACKBONES[self.kind].pool(self.backbone, tokens, self.pad_id, self.pooling)


def _end_token(tokenizer: Tokenizer, pooled_at: int) -> int:
    """The token that ends every text, checked against the one the model pools at (2: an old config's word for any)."""
    ids: list[int] = tokenizer.encode("").ids
    if not ids or pooled_at not in (ids[-1], OLD_CLIP_END):
        raise ConfigError(
            f"The tokenizer ends texts with {ids[-1:]}, the model reads them at token {pooled_at}.",
            "Give the checkpoint the tokenizer.json that belongs to it, with its post-processor.",
        )
    return ids[-1]


def _trained_pooling(path: Path) -> Pooling:
    """Pooling that a folder of ``sentence-transformers`` tells."""
    return "cls" if read_json(path / POOLING_FILE).get("pooling_mode_cls_token") else "mean"
