"""CapFilt: write captions for items with poor text, and keep those that match their picture (2201.12086)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field

from recsys.config import BaseConfig
from recsys.types import FloatArray, Image

Reason = Literal["matches", "does not match", "no picture", "nothing written"]


class CapFiltConfig(BaseConfig):
    """Whose text is poor, how captions are drawn, and which are kept."""

    fewer_characters: int = Field(default=12, ge=1)  # a text with fewer is poor
    top_p: float = Field(default=0.9, gt=0, le=1)  # nucleus; a likeliest caption would be safe and say little
    max_tokens: int = Field(default=24, ge=1)
    least_probability: float = Field(default=0.5, ge=0, le=1)  # of a match; captions below are dropped
    seed: int = 0


class Captioner(Protocol):
    """A tower that both describes and judges."""

    def caption(
        self,
        images: Sequence[Image | FloatArray],
        max_tokens: int = 24,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]: ...

    def match(self, texts: Sequence[str], images: Sequence[Image | FloatArray]) -> FloatArray: ...


@dataclass(frozen=True)
class Synthetic:
    """What became of one item.

    Attributes:
        caption: as it was written, ``None`` where there was no picture.
        probability: of a match of caption and picture; ``None`` where nothing was judged.
        reason: why it was kept or dropped.
    """

    caption: str | None
    probability: float | None
    reason: Reason

    @property
    def kept(self) -> bool:
        return self.reason == "matches"


def is_poor(text: str | None, config: CapFiltConfig) -> bool:
    """Whether an item's text says too little."""
    return len((text or "").strip()) < config.fewer_characters


def synthesise(
    tower: Captioner, images: Sequence[Image | FloatArray | None], config: CapFiltConfig, random: torch.Generator
) -> list[Synthetic]:
    """Write a caption for each picture, and judge it.

    Args:
        tower: writes and judges.
        images: of n items, ``None`` where there is none.
        config: see there.
        random: on the CPU; the same gives the same captions.
    """
    seen = [(place, image) for place, image in enumerate(images) if image is not None]
    pictures = [image for _, image in seen]
    written = tower.caption(pictures, config.max_tokens, config.top_p, random)
    probabilities = tower.match(written, pictures)
    found = [Synthetic(None, None, "no picture")] * len(images)
    for (place, _), caption, probability in zip(seen, written, probabilities.tolist(), strict=True):
        if not caption.strip():
            found[place] = Synthetic(caption, None, "nothing written")
        else:
            matches = probability >= config.least_probability
            found[place] = Synthetic(caption, probability, "matches" if matches else "does not match")
    return found
