"""Pictures: which encoded bytes are accepted, and how they become pixels.

A picture is kept as the bytes it came in. :func:`why_not` is asked once, at ingest; towers then call :func:`decode`.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError
from pydantic import Field

from recsys.config import BaseConfig
from recsys.types import Image

FORMATS = ("JPEG", "PNG", "WEBP")
_PHONE_JPEG = "MPO"  # a JPEG with further views (depth, preview) behind it; the first is the picture


class ImageLimits(BaseConfig):
    """What a picture may be. The size is read from the header, before any pixel is decoded."""

    max_pixels: int = Field(64_000_000, ge=1)
    """Width x height; 64 million pixels are 192 MB once decoded."""


def decode(image: Image, at_least: int | None = None) -> PillowImage.Image:
    """Upright RGB pixels: turned as its EXIF orientation says, transparency laid on white.

    Args:
        image: an encoded picture.
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as each side keeps this many pixels
            (several times faster); default: full size.

    Raises:
        OSError: not a whole JPEG, PNG or WebP; :func:`why_not` says so beforehand.
    """
    picture: PillowImage.Image = PillowImage.open(io.BytesIO(image), formats=FORMATS)
    if at_least is not None:
        picture.draft("RGB", (at_least, at_least))
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = PillowImage.alpha_composite(PillowImage.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def why_not(image: Image, limits: ImageLimits) -> str | None:
    """Why a picture cannot be used: empty, of another format, too large, animated or broken; ``None`` if it can."""
    if not image:
        return "empty picture"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
        try:
            with PillowImage.open(io.BytesIO(image), formats=FORMATS) as picture:
                width, height = picture.size
                animated = picture.format != _PHONE_JPEG and getattr(picture, "is_animated", False)
            if width * height > limits.max_pixels:
                return "picture with too many pixels"
            if animated:
                return "animated picture"
            decode(image, at_least=1)
        except (PillowImage.DecompressionBombWarning, PillowImage.DecompressionBombError):
            return "picture with too many pixels"
        except UnidentifiedImageError:
            return "not a JPEG, PNG or WebP picture"
        except Exception:  # decoders of broken files raise whatever they stumble over
            return "picture that cannot be decoded"
    return None
