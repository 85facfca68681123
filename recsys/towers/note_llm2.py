"""NoteLLM-2 item tower: a causal language model compresses picture and text, and hears both (2405.16789).

Fine-tuned plainly, such a model reads the text and ignores the picture. Two things prevent it:

- mICL: the prompt compresses the picture to a word of its own before it comes to the text. As the model is causal, the
  state there has seen the picture only. It is the ``image`` read-out, the state at the end is the ``fused`` one.
- Late fusion: both are mixed with what the image encoder saw, by a gate, see :class:`LateFusion`.

The paper's loss (9 L_cl(fused) + L_cl(image)) / 10 is the trainer's ``contrast.behaviour`` with ``fused = 0.9`` and
``image = 0.1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from recsys.config import BaseConfig
from recsys.encoders.causal_lm import LanguageModel, LanguageModelConfig
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.encoders.projector import ProjectorConfig, make_projector
from recsys.towers.base import Capability, TowerInputs
from recsys.towers.note_prompt import Part, language_model
from recsys.towers.note_tower import GENERATIVE_WEIGHT, NoteTower, at
from recsys.towers.tower import unit


class NoteLlm2Config(BaseConfig):
    """The language model, the image encoder, what connects them, and the width of the vector."""

    family: Literal["note_llm2"] = "note_llm2"
    llm: LanguageModelConfig = LanguageModelConfig()
    image: ImageConfig = ImageConfig()
    projector: ProjectorConfig = ProjectorConfig(kind="resampler")
    width: int = 64
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights
    generative_weight: float = Field(default=GENERATIVE_WEIGHT, ge=0)  # a, beside the contrast's 1
    asked_share: float = Field(
        default=1.0, ge=0, le=1
    )  # of a batch's notes that are to be written about; fewer is faster


class LateFusion(nn.Module):
    """``z * h + (1 - z) * v`` with ``z = sigmoid(W [h; v])``: what the language model says, and what was seen.

    Args:
        width: of both.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, h: Tensor, v: Tensor) -> Tensor:
        """Mix ``[n, width]`` of the language model with ``[n, width]`` of the picture."""
        z = torch.sigmoid(self.gate(torch.cat([h, v], dim=1)))
        return z * h + (1 - z) * v


class NoteLlm2Tower(NoteTower):
    """Pictures stand in the prompt; see :class:`recsys.towers.note_tower.NoteTower` for the rest.

    An item without a picture is its text, one without text its picture; nothing is fused there.

    Args:
        text: the language model.
        image: encoder of pictures.
        projector: brings its states into the language model.
        width: of the vector.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "note_llm2"
    capabilities: frozenset[Capability] = frozenset({"zero_shot", "generate"})
    reads_states: ClassVar[bool] = True

    def __init__(
        self,
        text: LanguageModel,
        image: ImageEncoder,
        projector: ProjectorConfig,
        width: int,
        widths: Sequence[int] = (),
    ) -> None:
        super().__init__(text, width, widths)
        self.image = image
        self.projector_config = projector
        self.projector = make_projector(projector, image.width, text.width)
        self.image_projection = nn.Linear(image.width, width)
        self.late_fusion = LateFusion(width)

    @classmethod
    def create(cls, config: NoteLlm2Config, corpus: Sequence[str]) -> NoteLlm2Tower:
        text = language_model(config.llm, corpus)
        image = ImageEncoder.create(config.image)
        tower = cls(text, image, config.projector, config.width, config.widths)
        tower.adopt(config)
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> NoteLlm2Tower:
        text = LanguageModel.restore(description["text"], tokenizer)
        image, projector = ImageEncoder.restore(description["image"]), ProjectorConfig(**description["projector"])
        return cls(text, image, projector, description["width"], description["widths"])

    def describe(self) -> dict[str, Any]:
        return {
            "text": self.text.describe(),
            "image": self.image.describe(),
            "projector": self.projector_config.model_dump(),
        }

    def adopt(self, config: NoteLlm2Config) -> None:
        super().adopt(config)
        if self.image.reads_pixels:
            self.image.frozen = config.image.frozen
            self.image.backbone.requires_grad_(not config.image.frozen)

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        text = self.read_text(inputs.tokens) * inputs.has_text[:, None]
        rows = inputs.has_image.nonzero()[:, 0]
        has_text = inputs.has_text[rows]
        states = self.image.states(inputs.images[rows])
        seen, fused, pictures = self._compressed(states, inputs.tokens[rows], has_text)
        fused = torch.where(has_text[:, None], fused, seen)
        return {
            "fused": text.index_copy(0, rows, fused),
            "text": text,
            "image": torch.zeros_like(text).index_copy(0, rows, seen),
            "pictures": pictures.new_zeros(len(inputs), *pictures.shape[1:]).index_copy(0, rows, pictures),
        }

    def read_image(self, images: Tensor) -> Tensor:
        nothing = torch.zeros(len(images), 0, dtype=torch.int64, device=images.device)
        shown = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        return self._compressed(self.image.states(images), nothing, shown)[0]

    def pictures(self, images: Tensor) -> Tensor:
        return self._spots(self.image.states(images))

    def _spots(self, states: Tensor) -> Tensor:
        spots: Tensor = self.projector(states[:, self.image.first_patch :])
        return spots

    def _compressed(self, states: Tensor, tokens: Tensor, has_text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of the picture alone and of both ``[n, width]``, and what stood in the spots."""
        pictures, v = self._spots(states), self.image_projection(self.image.pool(states))
        prompts = self.prompter.compose(tokens, has_text, torch.ones_like(has_text), pictures.shape[1])
        hidden = self.states(prompts, pictures)
        seen, both = (
            unit(self.late_fusion(self.projection(at(hidden, prompts.end(part))), v))
            for part in (Part.PICTURE_COMPRESS, Part.COMPRESS)
        )
        return seen, both, pictures
