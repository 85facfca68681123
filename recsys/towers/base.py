"""ItemTower: what every tower family does, whatever stands inside, and the records that go in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import polars as pl
import torch
from torch import Tensor

from recsys import schemas
from recsys.types import FloatArray, Image

Capability = Literal["zero_shot", "match", "caption", "generate"]
"""What a tower can do besides encoding: label without training, score (text, picture) pairs, describe, answer."""

READ_OUTS = ("fused", "text", "image")

ALL_PARTS = (schemas.TITLE, schemas.TAGS, schemas.TEXT)


@dataclass(frozen=True)
class ItemBatch:
    """Items to encode. A missing text or picture is ``None``; an item may miss one of the two.

    Attributes:
        texts: one text an item, see :func:`item_texts`.
        images: encoded pictures; for a tower that reads pre-extracted vectors, arrays ``[d]``.
    """

    texts: Sequence[str | None]
    images: Sequence[Image | FloatArray | None]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TowerInputs:
    """Items as tensors, in the form a tower reads.

    Attributes:
        tokens: int ``[n, length]``.
        has_text: bool ``[n]``.
        images: pixels, uint8 ``[n, 3, size, size]``; or what a frozen image encoder once made of them, float
            ``[n, states, width]`` or, pooled, ``[n, width]``.
        has_image: bool ``[n]``.
    """

    tokens: Tensor
    has_text: Tensor
    images: Tensor
    has_image: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, part: slice | Tensor) -> TowerInputs:
        return TowerInputs(self.tokens[part], self.has_text[part], self.images[part], self.has_image[part])

    def to(self, device: torch.device) -> TowerInputs:
        return TowerInputs(
            self.tokens.to(device), self.has_text.to(device), self.images.to(device), self.has_image.to(device)
        )


@dataclass(frozen=True)
class Note:
    """The words of one item, for families that compose prompts of them."""

    title: str
    text: str
    tags: tuple[str, ...]
    category: str


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """What one step learns from.

    Attributes:
        step: number of the step, from 0.
        steps: of the whole run.
        rows: item rows, int ``[n]``; an item may occur twice.
        inputs: the items, augmented. Their text may be one of their captions, see ``TrainerConfig.caption_share``.
        captions: one short text an item (title or caption), as a search would name it, tokens ``[n, length]``.
        has_caption: whether there is one that differs from the item's text, bool ``[n]``.
        same: pairs that are no negatives of each other: one item, one picture or one text, bool ``[n, n]``.
        notes: the words of the items.
        random: seeded by the run and the step, on the CPU; the only source of chance a family may use.
    """

    step: int
    steps: int
    rows: Tensor
    inputs: TowerInputs
    captions: Tensor
    has_caption: Tensor
    same: Tensor
    notes: Sequence[Note]
    random: torch.Generator

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> TrainingBatch:
        """The same, with its tensors on a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("rows", "captions", "has_caption", "same")}
        return replace(self, inputs=self.inputs.to(device), **tensors)


class ItemTower(Protocol):
    """Turns items, texts and pictures into unit vectors of one space."""

    @property
    def width(self) -> int: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def fingerprint(self) -> str:
        """Hash of weights, config and tokenizer: two towers with one fingerprint give the same vectors."""
        ...

    def encode_items(self, batch: ItemBatch) -> Mapping[str, FloatArray]:
        """Read-outs ``fused``, ``text`` and ``image``, each float32 ``[n, width]``.

        Rows are of unit length, or zero where the item lacks what the read-out is made from.
        """
        ...

    def encode_text(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of free texts, such as search queries, ``[n, width]``."""
        ...

    def encode_image(self, images: Sequence[Image | FloatArray]) -> FloatArray:
        """Vectors of pictures, ``[n, width]``."""
        ...

    def save(self, path: Path) -> None:
        """Write everything that decides the vectors into a directory."""
        ...


def item_texts(items: pl.DataFrame, parts: Sequence[str] = ALL_PARTS) -> list[str | None]:
    """The one text of each item that towers read: title, hashtags, body; ``None`` where all of them are empty.

    Args:
        items: rows of :data:`recsys.schemas.ITEMS`.
        parts: columns to take, in this order.
    """
    hashtags = pl.col(schemas.TAGS).list.eval("#" + pl.element()).list.join(" ")
    columns = [hashtags if part == schemas.TAGS else pl.col(part) for part in parts]
    joined = pl.concat_str([column.fill_null("").str.strip_chars() for column in columns], separator="\n")
    return [text or None for text in items.select(text=joined.str.strip_chars())["text"]]


def item_notes(items: pl.DataFrame) -> list[Note]:
    """The words of each item, empty where there are none."""
    columns = items.select(
        pl.col(schemas.TITLE).fill_null("").str.strip_chars(),
        pl.col(schemas.TEXT).fill_null("").str.strip_chars(),
        pl.col(schemas.TAGS).fill_null([]),
        pl.col(schemas.CATEGORY).fill_null(""),
    )
    return [Note(title, text, tuple(tags), category) for title, text, tags, category in columns.iter_rows()]
