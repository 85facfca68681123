"""A Q-Former's first weights: fresh, from a BERT, or from BLIP-2 in the hub's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers.models.bert.modeling_bert import BertForMaskedLM

from recsys.encoders.qformer import QFormer, QFormerConfig
from recsys.encoders.tokenizer import load_tokenizer, train_tokenizer

_ATTENTION = {"output": "output.dense", "norm": "output.LayerNorm"}
_FEED = {"up": "intermediate{}.dense", "down": "output{}.dense", "norm": "output{}.LayerNorm"}


def create_qformer(config: QFormerConfig, image_width: int, corpus: Sequence[str]) -> QFormer:
    """Fresh weights and a tokenizer trained on ``corpus``; or a BERT with queries and cross-attention still to learn.

    Args:
        config: see there.
        image_width: of the picture's states.
        corpus: texts.
    """
    if config.checkpoint is None:
        tokenizer = train_tokenizer(corpus, config.vocab_size)
        sizes = config.model_dump(exclude={"checkpoint", "vocab_size"})
        return QFormer(tokenizer, image_width, **sizes)
    bert: Any = BertForMaskedLM.from_pretrained(config.checkpoint, local_files_only=True, dtype=torch.float32)
    qformer = QFormer(
        load_tokenizer(config.checkpoint),
        image_width,
        min(config.max_tokens, bert.config.max_position_embeddings),
        bert.config.hidden_size,
        bert.config.num_hidden_layers,
        bert.config.num_attention_heads,
        config.queries,
        config.cross_every,
        config.dropout,
        bert.config.intermediate_size,
    )
    fill_qformer(qformer, _like_blip2(bert.state_dict()))
    return qformer


def qformer_of(config: Any, tokenizer: Tokenizer, max_tokens: int) -> QFormer:
    """A Q-Former of the shape that a BLIP-2 config of ``transformers`` tells."""
    sizes = config.qformer_config
    return QFormer(
        tokenizer,
        sizes.encoder_hidden_size,
        min(max_tokens, sizes.max_position_embeddings),
        sizes.hidden_size,
        sizes.num_hidden_layers,
        sizes.num_attention_heads,
        config.num_query_tokens,
        sizes.cross_attention_frequency,
        sizes.hidden_dropout_prob,
        sizes.intermediate_size,
    )


@torch.no_grad()
def fill_qformer(qformer: QFormer, weights: Mapping[str, Tensor]) -> set[str]:
    """Copy the weights of a BLIP-2 model of ``transformers`` as far as it has them.

    Words that the tokenizer has and the weights have not start at the mean embedding.

    Returns:
        Names of what stays fresh: a stage 2 model brings no text side, and none brings the language modelling head.
    """
    fresh = set()
    for name, ours in qformer.state_dict(keep_vars=True).items():
        theirs = [weights[source] for source in _sources(name, qformer) if source in weights]
        if not theirs:
            fresh.add(name)
            continue
        whole = torch.cat(theirs)[: len(ours)] if name != "query_tokens" else theirs[0][0]
        ours[: len(whole)] = whole
        if len(whole) < len(ours):
            ours[len(whole) :] = whole.mean(dim=0)
    return fresh


def _sources(name: str, qformer: QFormer) -> list[str]:
    """The names in ``transformers`` whose tensors, one below the other, are the tensor that we call ``name``."""
    where, kind = name.rpartition(".")[::2]
    alone = {
        "query_tokens": "query_tokens",
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        "head_bias": "cls.predictions.bias",
        f"norm.{kind}": f"qformer.layernorm.{kind}",
        f"head.0.{kind}": f"cls.predictions.transform.dense.{kind}",
        f"head.2.{kind}": f"cls.predictions.transform.LayerNorm.{kind}",
    }
    if name in alone:
        return [alone[name]]
    if where == "memory":
        crosses = [i for i, layer in enumerate(qformer.layers) if layer.cross_attention is not None]
        return [_in_layer(i, f"crossattention.attention.{part}.{kind}") for i in crosses for part in ("key", "value")]
    _, number, part, *rest = where.split(".")
    if part == "keys_values":
        return [_in_layer(int(number), f"attention.attention.{side}.{kind}") for side in ("key", "value")]
    if part in ("attention", "cross_attention"):
        inside = _ATTENTION.get(rest[0], f"attention.{rest[0]}")
        return [_in_layer(int(number), f"{part.replace('_', '')}.{inside}.{kind}")]
    return [_in_layer(int(number), f"{_FEED[rest[0]].format('_query' if part == 'query_feed' else '')}.{kind}")]


def _in_layer(number: int, name: str) -> str:
    return f"qformer.encoder.layer.{number}.{name}"


def _like_blip2(bert: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's weights under BLIP-2's names; the queries' feed-forward starts as a copy of the text's."""
    renamed = {
        "embeddings.word_embeddings.weight": bert["bert.embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": bert["bert.embeddings.position_embeddings.weight"]
        + bert["bert.embeddings.token_type_embeddings.weight"][0],  # all our text is of the first type
    }
    for name, weight in bert.items():
        if name.startswith("cls."):
            renamed[name] = weight
        if name.startswith("bert.embeddings.LayerNorm"):
            renamed[name.replace("bert.embeddings.LayerNorm", "qformer.layernorm")] = weight
        if name.startswith("bert.encoder"):
            inside = name.replace("bert.", "qformer.", 1).replace("attention.self", "attention.attention")
            renamed[inside] = weight
            if ".attention." not in inside:
                renamed[inside.replace("intermediate", "intermediate_query").replace("output", "output_query")] = weight
    return renamed
