"""LLaVA checkpoints in the hub's format, taken apart: image encoder, projector and language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration

from recsys.encoders.causal_lm import ARCHITECTURES, LanguageModel
from recsys.encoders.checkpoints import load_model, model_type
from recsys.encoders.image import ImageEncoder
from recsys.encoders.projector import ProjectorConfig, make_projector
from recsys.encoders.tokenizer import load_tokenizer
from recsys.exceptions import ConfigError

PROJECTOR = ProjectorConfig(kind="mlp", layers=2)
"""What LLaVA-1.5 connects by (2310.03744)."""


def load_llava(path: Path, max_tokens: int) -> tuple[LanguageModel, ImageEncoder, nn.Module]:
    """Language model, image encoder and projector of a checkpoint, in float32. The image encoder is frozen.

    Args:
        path: the folder.
        max_tokens: see :class:`recsys.encoders.causal_lm.LanguageModelConfig`.

    Raises:
        ConfigError: it holds no LLaVA, or one whose parts are connected in another way.
        ArtifactError: weights or tokenizer are missing.
    """
    if (kind := model_type(path)) != "llava":
        raise ConfigError(f"{path} holds a {kind!r} model.", "A whole checkpoint of this family is of type llava.")
    whole: Any = load_model(LlavaForConditionalGeneration, path)
    config = whole.config
    language = config.text_config.model_type
    if language not in ARCHITECTURES:
        raise ConfigError(f"{path} speaks by a {language!r}.", f"Language models can be {', '.join(ARCHITECTURES)}.")
    if not isinstance(config.vision_feature_layer, int) or config.projector_hidden_act != "gelu":
        raise ConfigError(
            f"{path} reads the layers {config.vision_feature_layer} through {config.projector_hidden_act!r}.",
            "Bring a checkpoint that reads one layer, through 'gelu'.",
        )
    image = ImageEncoder.from_checkpoint(path, config.vision_feature_layer, frozen=True, model=whole.model.vision_tower)
    if config.vision_feature_select_strategy == "full" and image.first_patch:
        raise ConfigError(f"{path} shows the CLS state to its language model.", "Bring one that shows patches only.")
    with torch.device("meta"):
        model = ARCHITECTURES[language][1](config.text_config)
    decoder = model.base_model_prefix
    setattr(model, decoder, whole.model.language_model)
    model.lm_head = whole.lm_head
    model.generation_config = whole.generation_config
    text = LanguageModel.around(model, load_tokenizer(path), max_tokens)
    projector = make_projector(PROJECTOR, image.width, text.width)
    theirs = whole.model.multi_modal_projector
    with torch.no_grad():
        for ours, linear in ((projector[0], theirs.linear_1), (projector[2], theirs.linear_2)):  # type: ignore[index]
            ours.weight.copy_(linear.weight)
            ours.bias.copy_(torch.zeros_like(ours.bias) if linear.bias is None else linear.bias)
    return text, image, projector
