"""The tower families by name: a new one is a new file and a line in each of the three tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.blip2 import Blip2Config, Blip2Tower
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.towers.llava import LlavaConfig, LlavaTower
from recsys.towers.note_llm import NoteLlmConfig, NoteLlmTower
from recsys.towers.note_llm2 import NoteLlm2Config, NoteLlm2Tower
from recsys.towers.tower import Tower, read_description

FAMILIES: Mapping[str, type[Tower]] = {
    "blip": BlipTower,
    "blip2": Blip2Tower,
    "clip": ClipTower,
    "llava": LlavaTower,
    "note_llm": NoteLlmTower,
    "note_llm2": NoteLlm2Tower,
}

CONFIGS: Mapping[str, type[BaseConfig]] = {
    "blip": BlipConfig,
    "blip2": Blip2Config,
    "clip": ClipConfig,
    "llava": LlavaConfig,
    "note_llm": NoteLlmConfig,
    "note_llm2": NoteLlm2Config,
}

FamilyConfig = Annotated[
    BlipConfig | Blip2Config | ClipConfig | LlavaConfig | NoteLlmConfig | NoteLlm2Config, Field(discriminator="family")
]


def create_tower(config: FamilyConfig, corpus: Sequence[str]) -> Tower:
    """A new tower of the family that the config is of; a tokenizer is trained on ``corpus`` where none is given."""
    return FAMILIES[config.family].create(config, corpus)


def open_tower(path: Path, width: int | None = None) -> Tower:
    """A saved tower of any family.

    Args:
        path: the directory it was saved in.
        width: of the vectors it is to serve; default: all it has.

    Raises:
        ArtifactError: the directory holds no tower, or one of a family that is not known here.
        ConfigError: it was not trained for that width.
    """
    family = read_description(path)["family"]
    if family not in FAMILIES:
        raise ArtifactError(f"{path} holds a tower of the family {family!r}.", f"There are {', '.join(FAMILIES)}.")
    return FAMILIES[family].load(path).narrowed(width)
