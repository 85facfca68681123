"""BLIP-2 checkpoints in the hub's format: the model for retrieval (stage 1), or the one that writes (stage 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.models.blip_2.modeling_blip_2 import (
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2VisionModel,
)

from recsys.encoders.checkpoints import CONFIG_FILE, load_model, model_type, read_json
from recsys.exceptions import ConfigError

MODELS = {kind.__name__: kind for kind in (Blip2ForImageTextRetrieval, Blip2ForConditionalGeneration)}


def load_blip2(path: Path) -> Any:
    """The model that a folder says it holds.

    Raises:
        ConfigError: it is another than the two that we know.
    """
    names = read_json(path / CONFIG_FILE, required=True).get("architectures") or ["no"]
    if names[0] not in MODELS:
        raise ConfigError(f"{path} holds a {names[0]} model.", f"BLIP-2 checkpoints can be {', '.join(MODELS)}.")
    return load_model(MODELS[names[0]], path)


def load_blip2_vision(path: Path) -> Any:
    """The image model of a BLIP-2 checkpoint, whole or the image model alone.

    Its weights must be there: its own class starts them at a spread of 1e-10, and every picture would look the same.
    """
    return load_model(Blip2VisionModel, path) if model_type(path) != "blip-2" else load_blip2(path).vision_model
