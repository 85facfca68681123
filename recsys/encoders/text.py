"""Text encoder: BERT with its tokenizer, from scratch or from a checkpoint in the hub's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from recsys.config import BaseConfig
from recsys.encoders.tokenizer import PAD, PAD_ID, load_tokenizer, token_ids, train_tokenizer


class TextConfig(BaseConfig):
    """Size of a text encoder trained from scratch; a checkpoint brings its own, but for ``max_tokens``."""

    checkpoint: Path | None = None
    max_tokens: int = Field(default=48, ge=4)
    vocab_size: int = Field(default=8000, ge=100)
    width: int = 128
    layers: int = 3
    heads: int = 4


class TextEncoder(nn.Module):
    """Mean of BERT's last hidden states over the tokens.

    Args:
        bert: the backbone.
        tokenizer: made for it.
        max_tokens: longer texts are cut.
    """

    def __init__(self, bert: BertModel, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.bert = bert
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, bert.config.max_position_embeddings)
        self.pad_id = tokenizer.token_to_id(PAD) or PAD_ID

    @classmethod
    def create(cls, config: TextConfig, corpus: Sequence[str]) -> TextEncoder:
        """From the checkpoint, or fresh weights and a tokenizer trained on ``corpus``."""
        if config.checkpoint is not None:
            bert = BertModel.from_pretrained(config.checkpoint, add_pooling_layer=False, local_files_only=True)
            return cls(bert, load_tokenizer(config.checkpoint), config.max_tokens)
        tokenizer = train_tokenizer(corpus, config.vocab_size)
        bert_config = BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            max_position_embeddings=config.max_tokens,
            pad_token_id=PAD_ID,
        )
        return cls(BertModel(bert_config, add_pooling_layer=False), tokenizer, config.max_tokens)

    @property
    def width(self) -> int:
        return int(self.bert.config.hidden_size)

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids, int32 ``[n, max_tokens]``."""
        return token_ids(self.tokenizer, texts, self.max_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Features ``[n, width]`` of token ids ``[n, length]``; columns that are padding everywhere cost nothing."""
        if len(tokens) == 0:
            return torch.zeros(0, self.width, device=tokens.device)
        length = int((tokens != self.pad_id).sum(dim=1).max().clamp(min=1))
        tokens = tokens[:, :length]
        mask = tokens != self.pad_id
        hidden = self.bert(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return torch.sum(hidden * weights, dim=1) / weights.sum(dim=1).clamp(min=1)
