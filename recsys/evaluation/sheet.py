"""Contact sheet: what was asked and what came back, as pictures. Holds content only; the page is drawn elsewhere."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image as PILImage

from recsys.types import Image

THUMBNAIL_PIXELS = 320
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Card:
    """One item as it is shown: its title, a small line under it, and its picture.

    ``hit`` marks a result that is right (engaged with in the test, or judged relevant).
    """

    title: str
    subtitle: str = ""
    image: Image | None = None
    hit: bool = False


@dataclass(frozen=True)
class Words:
    """A result that is a text: a caption found or written for a picture. ``hit`` as in :class:`Card`."""

    text: str
    subtitle: str = ""
    hit: bool = False


@dataclass(frozen=True)
class Row:
    """One request and its results, best first.

    Attributes:
        query: a text, a seed item, or the recent items of a user.
        results: what came back.
        caption: who asked, or what is worth seeing.
    """

    query: str | Card | tuple[Card, ...]
    results: tuple[Card | Words, ...]
    caption: str = ""


@dataclass(frozen=True)
class SheetSection:
    """Rows of one kind: picture search, text search, recommendations."""

    title: str
    description: str
    rows: tuple[Row, ...]


def thumbnail_uri(image: Image | None) -> str | None:
    """A small JPEG as a data URI, ``None`` where there is no picture or it cannot be decoded (a blank tile then)."""
    if image is None:
        return None
    try:
        with PILImage.open(io.BytesIO(image)) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError, PILImage.DecompressionBombError):
        return None
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return jpeg_uri(buffer.getvalue())


def jpeg_uri(image: Image) -> str:
    """A JPEG as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()
