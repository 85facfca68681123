"""CLIP item tower: a dual encoder of pictures and texts, contrastively trained, fused into one item vector.

The text and the image read-out are CLIP's two projections (2103.00020). The fused read-out mixes the same two by a gate
(after 2405.16789), so an item that lacks one falls back on the other, and texts, pictures and items live in one space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from recsys.config import BaseConfig
from recsys.encoders.checkpoints import model_type
from recsys.encoders.dual_encoders import DUAL_ENCODERS
from recsys.encoders.image import PREPROCESSOR_FILE, ImageConfig, ImageEncoder
from recsys.encoders.text import TextConfig, TextEncoder
from recsys.encoders.tokenizer import SETTINGS_FILE, TOKENIZER_FILE
from recsys.exceptions import ConfigError
from recsys.towers.base import TowerInputs
from recsys.towers.fusion import GatedFusion
from recsys.towers.tower import Tower, unit


class ClipConfig(BaseConfig):
    """Both encoders and the width of the common space."""

    family: Literal["clip"] = "clip"
    checkpoint: Path | None = None  # a whole CLIP, Chinese-CLIP or SigLIP: both encoders, their projections and scale
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    width: int = 64  # a whole checkpoint brings its own
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights


class ClipTower(Tower):
    """Dual encoder with a gated fusion.

    Args:
        text: encoder of texts.
        image: encoder of pictures.
        width: d of the common space.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "clip"
    text: TextEncoder

    def __init__(self, text: TextEncoder, image: ImageEncoder, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__(width, widths)
        self.text = text
        self.image = image
        self.text_projection = nn.Linear(text.width, width, bias=False)
        self.image_projection = nn.Linear(image.width, width, bias=False)
        self.fusion = GatedFusion(text.width, image.width, width)

    @classmethod
    def create(cls, config: ClipConfig, corpus: Sequence[str]) -> ClipTower:
        if config.checkpoint is not None:
            return cls.from_checkpoint(config.checkpoint, config)
        text, image = TextEncoder.create(config.text, corpus), ImageEncoder.create(config.image)
        return cls(text, image, config.width, config.widths)

    @classmethod
    def from_checkpoint(cls, path: Path, config: ClipConfig) -> ClipTower:
        """A whole dual encoder in the hub's format; only the fusion starts fresh.

        Args:
            path: the folder.
            config: says what is frozen, which layer is read, where texts are cut, and the smaller widths.

        Raises:
            ConfigError: it is no dual encoder that we know.
            ArtifactError: weights or tokenizer are missing.
        """
        kind = model_type(path)
        if kind not in DUAL_ENCODERS:
            known = ", ".join(DUAL_ENCODERS)
            raise ConfigError(f"{path} holds a {kind!r} model.", f"A whole checkpoint of this family can be {known}.")
        whole = DUAL_ENCODERS[kind].load(path)
        text = TextEncoder.from_checkpoint(path, config.text.max_tokens, config.text.frozen, model=whole.text_model)
        image = ImageEncoder.from_checkpoint(path, config.image.layer, config.image.frozen, whole.vision_model)
        projected = DUAL_ENCODERS[kind].projected
        tower = cls(text, image, whole.config.projection_dim if projected else image.width, config.widths)
        with torch.no_grad():
            if projected:
                tower.text_projection.weight.copy_(whole.text_projection.weight)
                tower.image_projection.weight.copy_(whole.visual_projection.weight)
            else:
                nn.init.eye_(tower.text_projection.weight)
                nn.init.eye_(tower.image_projection.weight)
                tower.match_bias.copy_(whole.logit_bias.squeeze())
            tower.match_scale.copy_(whole.logit_scale.squeeze())
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> ClipTower:
        text, image = TextEncoder.restore(description["text"], tokenizer), ImageEncoder.restore(description["image"])
        return cls(text, image, description["width"], description["widths"])

    def describe(self) -> dict[str, Any]:
        return {"text": self.text.describe(), "image": self.image.describe()}

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        text_state, image_state = self.text(inputs.tokens), self.image(inputs.images)
        text, image = self.text_projection(text_state), self.image_projection(image_state)
        out: dict[str, Tensor] = self.fusion(text_state, image_state, text, image, inputs.has_text, inputs.has_image)
        return out

    def read_text(self, tokens: Tensor) -> Tensor:
        return unit(self.text_projection(self.text(tokens)))

    def read_image(self, images: Tensor) -> Tensor:
        return unit(self.image_projection(self.image(images)))

    def export(self, path: Path) -> None:
        """Write both encoders, projections, scale, tokenizer and preprocessing as a CLIP checkpoint of the hub.

        ``transformers`` opens it and gives the same text and image vectors. The fusion has no place there: a tower that
        is to encode items again is kept by :meth:`save`.

        Raises:
            ConfigError: the encoders are no pair that a CLIP or a Chinese-CLIP is made of.
        """
        kinds = (self.image.kind, self.text.kind)
        whole = next(
            (dual for dual in DUAL_ENCODERS.values() if dual.projected and (dual.image, dual.text) == kinds), None
        )
        if whole is None:
            raise ConfigError(
                f"A tower of {kinds[0]} and {kinds[1]} has no form in the hub.",
                "Keep it by `save`, or train from a CLIP or Chinese-CLIP checkpoint.",
            )
        vision, text = cast(Any, self.image.backbone), cast(Any, self.text.backbone)
        config = whole.config(
            vision_config=vision.config.to_dict(), text_config=text.config.to_dict(), projection_dim=self.full_width
        )
        with torch.device("meta"):
            model = whole.model(config)
        model.vision_model, model.text_model = vision, text
        model.visual_projection, model.text_projection = self.image_projection, self.text_projection
        model.logit_scale = self.match_scale
        model.save_pretrained(path)
        tokenizer = self.text.tokenizer
        tokenizer.save(str(path / TOKENIZER_FILE))
        reader = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": tokenizer.id_to_token(self.text.pad_id)}
        (path / SETTINGS_FILE).write_text(json.dumps(reader, indent=2))
        (path / PREPROCESSOR_FILE).write_text(json.dumps(self.image.preprocessor(), indent=2))
