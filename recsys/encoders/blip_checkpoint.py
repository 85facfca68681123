"""BLIP and BERT checkpoints of the hub, under the names that their weights have here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.encoders.grounded_bert import GroundedBert, GroundedBertSizes
from recsys.encoders.hub_weights import hub_config, hub_weights
from recsys.exceptions import ArtifactError, ConfigError

VISION = "vision_model."
ENCODER, DECODER, HEAD = "text_encoder.", "text_decoder.bert.", "text_decoder.cls.predictions."

_VISION_NAMES = (
    ("embeddings.class_embedding", "embeddings.cls_token"),
    ("embeddings.position_embedding", "embeddings.position_embeddings"),
    ("embeddings.patch_embedding.", "embeddings.patch_embeddings.projection."),
    ("encoder.layers.", "layers."),
    (".self_attn.projection.", ".attention.o_proj."),
    (".layer_norm1.", ".layernorm_before."),
    (".layer_norm2.", ".layernorm_after."),
    ("post_layernorm.", "layernorm."),
)
_TEXT_NAMES = (
    ("embeddings.word_embeddings.", "words."),
    ("embeddings.position_embeddings.", "places."),
    ("embeddings.LayerNorm.", "norm."),
    ("encoder.layer.", "layers."),
    (".crossattention.self.query.", ".cross_attention.query."),
    (".crossattention.output.dense.", ".cross_attention.residual.output."),
    (".crossattention.output.LayerNorm.", ".cross_attention.residual.norm."),
    (".attention.output.dense.", ".attention.residual.output."),
    (".attention.output.LayerNorm.", ".attention.residual.norm."),
    (".intermediate.dense.", ".feed_forward.inner."),
    (".output.dense.", ".feed_forward.residual.output."),
    (".output.LayerNorm.", ".feed_forward.residual.norm."),
)
_HEAD_NAMES = {
    "transform.dense.weight": "head.weight",
    "transform.dense.bias": "head.bias",
    "transform.LayerNorm.weight": "head_norm.weight",
    "transform.LayerNorm.bias": "head_norm.bias",
    "bias": "head_bias",
}
_SELF_ATTENTION = re.compile(r"\.attention\.")


def load_blip_vision(path: Path) -> ViTModel:
    """BLIP's image encoder as the ViT it is, which brings fused attention.

    Its weights must be there: BLIP's own class starts them at a spread of 1e-10, and every picture would look the same.

    Args:
        path: a BLIP checkpoint, or one of its image encoder alone.
    """
    config = hub_config(path)
    vision = config.get("vision_config", config)
    theirs = BlipVisionConfig.from_dict(vision)  # published checkpoints leave out what equals the defaults
    sizes = ViTConfig(
        hidden_size=theirs.hidden_size,
        intermediate_size=theirs.intermediate_size,
        num_hidden_layers=theirs.num_hidden_layers,
        num_attention_heads=theirs.num_attention_heads,
        image_size=theirs.image_size,
        patch_size=theirs.patch_size,
        hidden_act=theirs.hidden_act,
        layer_norm_eps=theirs.layer_norm_eps,
        attention_probs_dropout_prob=theirs.attention_dropout,
        hidden_dropout_prob=0.0,
    )
    model = ViTModel(sizes, add_pooling_layer=False)
    weights = hub_weights(path)
    prefix = VISION if any(name.startswith(VISION) for name in weights) else ""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(prefix):
            ours = _renamed(name.removeprefix(prefix), _VISION_NAMES)
            if ".self_attn.qkv." in ours:
                for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                    found[ours.replace(".self_attn.qkv.", f".attention.{letter}_proj.")] = part
            else:
                found[ours] = tensor
    model.load_state_dict(found)
    return model


def grounded_sizes(config: Mapping[str, Any], image_width: int) -> GroundedBertSizes:
    """The shape of a text model.

    Args:
        config: of a BERT, or the ``text_config`` of a BLIP.
        image_width: of the states it is to look at.

    Raises:
        ConfigError: its activation is not BERT's.
    """
    kind = BertConfig if config.get("model_type") == "bert" else BlipTextConfig
    theirs = kind.from_dict(dict(config))
    if theirs.hidden_act != "gelu":
        raise ConfigError(f"The text model's activation is {theirs.hidden_act!r}.", "Only gelu is supported.")
    return GroundedBertSizes(
        vocab_size=theirs.vocab_size,
        image_width=image_width,
        width=theirs.hidden_size,
        layers=theirs.num_hidden_layers,
        heads=theirs.num_attention_heads,
        inner_width=theirs.intermediate_size,
        positions=theirs.max_position_embeddings,
        dropout=theirs.hidden_dropout_prob,
        epsilon=theirs.layer_norm_eps,
    )


def fill_from_blip(bert: GroundedBert, weights: Mapping[str, Tensor]) -> None:
    """Take over the text weights of a BLIP checkpoint; what it lacks stays fresh.

    Published checkpoints do not share: one for retrieval has an encoder only, one for captions a decoder only. The
    missing role then starts as a copy of the other. Where there are both, the shared part is the encoder's.

    Args:
        bert: filled in place.
        weights: of the whole checkpoint.
    """
    reads = ENCODER if any(name.startswith(ENCODER) for name in weights) else DECODER
    writes = DECODER if any(name.startswith(DECODER) for name in weights) else ENCODER
    found = _text_weights(weights, reads)
    writing = _text_weights(weights, writes)
    found |= {
        _SELF_ATTENTION.sub(".writing_attention.", name): tensor
        for name, tensor in writing.items()
        if _SELF_ATTENTION.search(name)
    }
    _fill(bert, found | _head_weights(weights, HEAD))


def fill_from_bert(bert: GroundedBert, weights: Mapping[str, Tensor]) -> None:
    """Take over a BERT, as BLIP's authors began; cross-attention stays fresh, both self-attentions start alike.

    Args:
        bert: filled in place.
        weights: of the whole checkpoint.
    """
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    modern = {name.replace(".gamma", ".weight").replace(".beta", ".bias"): tensor for name, tensor in weights.items()}
    found = _text_weights(modern, prefix)
    kinds = modern.get(f"{prefix}embeddings.token_type_embeddings.weight")
    if kinds is not None:  # every token is of the first kind
        found["places.weight"] = found["places.weight"] + kinds[0]
    found |= {
        _SELF_ATTENTION.sub(".writing_attention.", name): tensor
        for name, tensor in found.items()
        if _SELF_ATTENTION.search(name)
    }
    _fill(bert, found | _head_weights(modern, "cls.predictions."))


def _text_weights(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Encoder weights under our names; a layer's query, key and value become one matrix, as they are computed."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        inside = name.removeprefix(prefix)
        if not name.startswith(prefix) or not inside.startswith(("embeddings.", "encoder.")):
            continue
        if ".self.key." in inside or ".self.value." in inside or ".attention.self.query." in inside:
            continue
        found[_renamed(inside, _TEXT_NAMES)] = tensor
    layers = {match[1] for name in weights if (match := re.match(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.", name))}
    for layer in layers:
        theirs, ours = f"{prefix}encoder.layer.{layer}.", f"layers.{layer}."
        for kind in ("weight", "bias"):
            query, key, value = (weights[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value"))
            found[f"{ours}attention.query_key_value.{kind}"] = torch.cat([query, key, value])
            if f"{theirs}crossattention.self.key.{kind}" in weights:
                both = [weights[f"{theirs}crossattention.self.{part}.{kind}"] for part in ("key", "value")]
                found[f"{ours}cross_attention.key_value.{kind}"] = torch.cat(both)
    return {name: tensor for name, tensor in found.items() if "token_type" not in name and "position_ids" not in name}


def _head_weights(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {ours: weights[prefix + theirs] for theirs, ours in _HEAD_NAMES.items() if prefix + theirs in weights}


@torch.no_grad()
def _fill(bert: GroundedBert, found: Mapping[str, Tensor]) -> None:
    """Load the weights; words that the checkpoint does not know start as the mean of those it knows.

    Raises:
        ArtifactError: weights are missing or of another model.
    """
    loaded = dict(found)
    extra = bert.sizes.vocab_size - len(loaded["words.weight"])
    if extra > 0:
        words = loaded["words.weight"]
        loaded["words.weight"] = torch.cat([words, words.mean(dim=0, keepdim=True).expand(extra, -1)])
        if "head_bias" in loaded:
            loaded["head_bias"] = torch.cat([loaded["head_bias"], loaded["head_bias"].mean().expand(extra)])
    missing, unknown = bert.load_state_dict(loaded, strict=False)
    lost = [name for name in missing if not name.startswith("head") and ".cross_attention." not in name]
    if lost or unknown:
        raise ArtifactError(
            f"The checkpoint's text weights do not fit: missing {lost[:3]}, unknown {unknown[:3]}.",
            "Name a whole BLIP or BERT checkpoint.",
        )


def _renamed(name: str, table: Sequence[tuple[str, str]]) -> str:
    for theirs, ours in table:
        name = name.replace(theirs, ours)
    return name
