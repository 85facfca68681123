"""Dual encoders of ``transformers``: whole checkpoints that bring an image model and a text model of one space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.models.chinese_clip.configuration_chinese_clip import ChineseCLIPConfig
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel
from transformers.models.siglip.configuration_siglip import SiglipConfig
from transformers.models.siglip.modeling_siglip import SiglipModel

from recsys.encoders.checkpoints import load_model


@dataclass(frozen=True)
class DualEncoder:
    """One architecture.

    Attributes:
        config: its configuration class.
        model: its model class, with the parts ``vision_model`` and ``text_model``.
        image: kind of its image model, see :data:`recsys.encoders.image_backbones.BACKBONES`.
        text: kind of its text model, see :data:`recsys.encoders.text_backbones.BACKBONES`.
        projected: whether its space lies behind two linear projections, rather than being that of its pooled states.
    """

    config: Callable[..., Any]
    model: Any
    image: str
    text: str
    projected: bool

    def load(self, path: Path) -> Any:
        """Weights of a checkpoint folder in the hub's format."""
        return load_model(self.model, path)


DUAL_ENCODERS: Mapping[str, DualEncoder] = {  # by ``model_type`` of the hub's config.json
    "clip": DualEncoder(CLIPConfig, CLIPModel, "clip_vision_model", "clip_text_model", projected=True),
    "chinese_clip": DualEncoder(
        ChineseCLIPConfig, ChineseCLIPModel, "chinese_clip_vision_model", "chinese_clip_text_model", projected=True
    ),
    "siglip": DualEncoder(SiglipConfig, SiglipModel, "siglip_vision_model", "siglip_text_model", projected=False),
}
