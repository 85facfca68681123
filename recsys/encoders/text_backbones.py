"""Text backbones: how each architecture of ``transformers`` is made and how it pools its states into one.

All of them attend by PyTorch's fused kernel, which is what ``transformers`` picks by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.chinese_clip.configuration_chinese_clip import ChineseCLIPTextConfig
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPTextModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.siglip.configuration_siglip import SiglipTextConfig
from transformers.models.siglip.modeling_siglip import SiglipTextModel

from recsys.encoders.checkpoints import load_model
from recsys.encoders.clip_layers import text_state

OLD_CLIP_END = 2  # as `eos_token_id` it makes a CLIP read at the largest id, the end token in CLIP's vocabulary
Pooling = Literal["mean", "cls"]
"""How a BERT's last hidden states become one: their mean over the tokens, or the first."""


@dataclass(frozen=True)
class TextBackbone:
    """One architecture.

    Attributes:
        config: its configuration class.
        make: fresh weights from a configuration.
        load: weights of a checkpoint folder in the hub's format.
        pool: the model, tokens ``[n, length]``, the id of padding and the pooling (of a BERT) -> ``[n, width]``.
        ends_pad: texts are padded with their own end token: the model reads from left to right up to the first one.
        full_length: texts are always padded to the model's length, and the padding is read, as it was in its training.
    """

    config: Callable[..., Any]
    make: Callable[[Any], nn.Module]
    load: Callable[[Any], nn.Module]
    pool: Callable[[Any, Tensor, int, Pooling], Tensor]
    ends_pad: bool = False
    full_length: bool = False


def _bert(model: Any, tokens: Tensor, pad: int, pooling: Pooling) -> Tensor:
    tokens = tokens[:, : int((tokens != pad).sum(dim=1).max().clamp(min=1))]
    mask = tokens != pad
    hidden: Tensor = model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.sum(hidden * weights, dim=1) / weights.sum(dim=1).clamp(min=1)


def _clip(model: Any, tokens: Tensor, pad: int, pooling: Pooling) -> Tensor:
    # Padding is the end token. The model pools at the first one, or, in checkpoints whose config says eos_token_id = 2,
    # at the first of the largest ids: both stay where they are however far the batch is padded.
    ends = model.eos_token_id
    end = (tokens if ends == OLD_CLIP_END else tokens == ends).int().argmax(dim=1)
    return text_state(model, tokens[:, : int(end.max()) + 1], end)


def _siglip(model: Any, tokens: Tensor, pad: int, pooling: Pooling) -> Tensor:
    tokens = F.pad(tokens, (0, model.config.max_position_embeddings - tokens.shape[1]), value=pad)
    return model(input_ids=tokens).pooler_output  # type: ignore[no-any-return]


BACKBONES: Mapping[str, TextBackbone] = {  # by ``model_type`` of the hub's config.json
    "bert": TextBackbone(
        config=BertConfig,
        make=lambda config: BertModel(config, add_pooling_layer=False),
        load=lambda path: load_model(BertModel, path, add_pooling_layer=False),
        pool=_bert,
    ),
    "chinese_clip_text_model": TextBackbone(
        config=ChineseCLIPTextConfig,
        make=lambda config: ChineseCLIPTextModel(config, add_pooling_layer=False),
        load=lambda path: load_model(ChineseCLIPTextModel, path, add_pooling_layer=False),
        pool=lambda model, tokens, pad, pooling: _bert(model, tokens, pad, "cls"),
    ),
    "clip_text_model": TextBackbone(
        config=CLIPTextConfig,
        make=CLIPTextModel,
        load=lambda path: load_model(CLIPTextModel, path),
        pool=_clip,
        ends_pad=True,
    ),
    "siglip_text_model": TextBackbone(
        config=SiglipTextConfig,
        make=SiglipTextModel,
        load=lambda path: load_model(SiglipTextModel, path),
        pool=_siglip,
        full_length=True,
    ),
}
