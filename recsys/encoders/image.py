"""Image encoder: ViT with its preprocessing, from scratch or from a checkpoint in the hub's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from pydantic import Field
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.config import BaseConfig
from recsys.data.media import decode
from recsys.types import Image

PREPROCESSOR_FILE = "preprocessor_config.json"


class ImageConfig(BaseConfig):
    """Size of an image encoder trained from scratch; a checkpoint brings its own."""

    checkpoint: Path | None = None
    pixels: int = Field(default=64, ge=8)  # the picture is scaled to pixels x pixels
    patch: int = Field(default=8, ge=1)
    width: int = 128
    layers: int = 3
    heads: int = 4


class ImageEncoder(nn.Module):
    """Mean of ViT's patch states. Normalisation happens inside, so pictures travel and are cached as uint8.

    Args:
        vit: the backbone.
        mean: of the three colours, in 0..1.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: ViTModel, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.vit = vit
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    @classmethod
    def create(cls, config: ImageConfig) -> ImageEncoder:
        """From the checkpoint with the colour statistics of its preprocessor, or fresh weights."""
        if config.checkpoint is not None:
            vit = ViTModel.from_pretrained(config.checkpoint, add_pooling_layer=False, local_files_only=True)
            file = config.checkpoint / PREPROCESSOR_FILE
            settings = json.loads(file.read_text()) if file.exists() else {}
            return cls(vit, settings.get("image_mean", [0.5] * 3), settings.get("image_std", [0.5] * 3))
        vit_config = ViTConfig(
            image_size=config.pixels,
            patch_size=config.patch,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
        )
        return cls(ViTModel(vit_config, add_pooling_layer=False), [0.5] * 3, [0.5] * 3)

    @property
    def width(self) -> int:
        return int(self.vit.config.hidden_size)

    @property
    def pixels(self) -> int:
        return int(self.vit.config.image_size)

    def prepare(self, images: Sequence[Image | None]) -> npt.NDArray[np.uint8]:
        """Decode and scale pictures to uint8 ``[n, 3, pixels, pixels]``; zeros where there is none."""
        out = np.zeros((len(images), 3, self.pixels, self.pixels), np.uint8)
        for row, image in enumerate(images):
            if image is not None:
                scaled = decode(image).resize(
                    (self.pixels, self.pixels), PillowImage.Resampling.BICUBIC, reducing_gap=3
                )
                out[row] = np.asarray(scaled).transpose(2, 0, 1)
        return out

    def forward(self, pixels: Tensor) -> Tensor:
        """Features ``[n, width]`` of uint8 pictures ``[n, 3, pixels, pixels]``."""
        if len(pixels) == 0:
            return torch.zeros(0, self.width, device=pixels.device)
        scaled = (pixels.float() / 255 - self.mean) / self.std
        hidden = self.vit(pixel_values=scaled).last_hidden_state
        return torch.mean(hidden[:, 1:], dim=1)
