"""NoteLLM item tower: a causal language model compresses the text of a note to one word (2403.01744).

Texts only. An item without text has a zero vector, and pictures are looked at by no one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor

from recsys.config import BaseConfig
from recsys.encoders.causal_lm import LanguageModel, LanguageModelConfig
from recsys.encoders.no_image import NoImages
from recsys.exceptions import ConfigError
from recsys.towers.base import Capability, TowerInputs
from recsys.towers.note_prompt import language_model
from recsys.towers.note_tower import GENERATIVE_WEIGHT, NoteTower
from recsys.types import FloatArray, Image


class NoteLlmConfig(BaseConfig):
    """The language model and the width of the vector."""

    family: Literal["note_llm"] = "note_llm"
    llm: LanguageModelConfig = LanguageModelConfig()
    width: int = 64
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights
    generative_weight: float = Field(default=GENERATIVE_WEIGHT, ge=0)  # a, beside the contrast's 1
    asked_share: float = Field(
        default=1.0, ge=0, le=1
    )  # of a batch's notes that are to be written about; fewer is faster


class NoteLlmTower(NoteTower):
    """The vector of an item is the vector of its text; see :class:`recsys.towers.note_tower.NoteTower`.

    Args:
        text: the language model.
        width: of the vector.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "note_llm"
    capabilities: frozenset[Capability] = frozenset({"generate"})

    def __init__(self, text: LanguageModel, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__(text, width, widths)
        self.image = NoImages()

    @classmethod
    def create(cls, config: NoteLlmConfig, corpus: Sequence[str]) -> NoteLlmTower:
        text = language_model(config.llm, corpus)
        tower = cls(text, config.width, config.widths)
        tower.adopt(config)
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> NoteLlmTower:
        text = LanguageModel.restore(description["text"], tokenizer)
        return cls(text, description["width"], description["widths"])

    def describe(self) -> dict[str, Any]:
        return {"text": self.text.describe()}

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        text = self.read_text(inputs.tokens) * inputs.has_text[:, None]
        return {"fused": text, "text": text, "image": torch.zeros_like(text), "pictures": self.pictures(inputs.images)}

    def pictures(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 0, self.text.width, device=self.device)

    def encode_image(self, images: Sequence[Image | FloatArray]) -> FloatArray:
        """Refused.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("A tower of the family note_llm reads no pictures.", "Train one of the family note_llm2.")

    def read_image(self, images: Tensor) -> Tensor:
        """Zeros: no picture is looked at."""
        return torch.zeros(len(images), self.full_width, device=self.device)
