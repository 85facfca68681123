"""ItemTower: what every tower family does, whatever stands inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from recsys import schemas
from recsys.types import FloatArray, Image


@dataclass(frozen=True)
class ItemBatch:
    """Items to encode. A missing text or picture is ``None``; an item may miss one of the two."""

    texts: Sequence[str | None]
    images: Sequence[Image | None]

    def __len__(self) -> int:
        return len(self.texts)


class ItemTower(Protocol):
    """Turns items, texts and pictures into unit vectors of one space."""

    @property
    def width(self) -> int: ...

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

    def encode_image(self, images: Sequence[Image]) -> FloatArray:
        """Vectors of pictures, ``[n, width]``."""
        ...

    def save(self, path: Path) -> None:
        """Write everything that decides the vectors into a directory."""
        ...


READ_OUTS = ("fused", "text", "image")


ALL_PARTS = (schemas.TITLE, schemas.TAGS, schemas.TEXT)


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
