"""A drawing board at twice the final size, and the few brushes all styles share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from recsys.data.world.motifs import Points
from recsys.data.world.palettes import Colour, Palette

WIDTH, HEIGHT = 240, 320
OVERSAMPLING = 2
BOARD = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)

Pixels = npt.NDArray[np.float32]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` with a ``share`` (0..1) of ``b``."""
    red, green, blue = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue


def tone(palette: Palette, name: str) -> Colour:
    colour: Colour = getattr(palette, name)
    return colour


def gradient(top: Colour, bottom: Colour, size: tuple[int, int] = BOARD) -> Image.Image:
    """A ground that changes from ``top`` to ``bottom``."""
    ramp = Image.linear_gradient("L").resize((1, size[1])).resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def blank(colour: Colour) -> Image.Image:
    return Image.new("RGB", BOARD, colour)


def fill(board: Image.Image, points: Points, colour: Colour | int) -> None:
    ImageDraw.Draw(board).polygon(points.ravel().tolist(), fill=colour)


def stroke(board: Image.Image, points: Points, colour: Colour | int, width: int) -> None:
    """Outline a closed polygon."""
    closed = np.concatenate([points, points[:2]])
    ImageDraw.Draw(board).line(closed.ravel().tolist(), fill=colour, width=width, joint="curve")


def discs(board: Image.Image, centres: Iterable[tuple[float, float]], radius: float, colour: Colour | int) -> None:
    pen = ImageDraw.Draw(board)
    for x, y in centres:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def disc(board: Image.Image, x: float, y: float, radius: float, colour: Colour | int) -> None:
    discs(board, [(x, y)], radius, colour)


def mask_of(*outlines: Points) -> Image.Image:
    """White where any of the polygons is, at board size."""
    mask = Image.new("L", BOARD, 0)
    for points in outlines:
        fill(mask, points, 255)
    return mask


def soften(picture: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur by ``radius`` pixels, done on a smaller copy where the radius allows it."""
    shrink = max(1, min(4, int(radius)))
    small = picture.reduce(shrink).filter(ImageFilter.GaussianBlur(radius / shrink))
    return small if shrink == 1 else small.resize(picture.size, Image.Resampling.BILINEAR)


def lay(picture: Image.Image, mask: Image.Image, colour: Colour, opacity: float = 1.0) -> None:
    """Paint a colour through a mask of the same size."""
    picture.paste(
        colour, (0, 0), mask if opacity == 1 else mask.point([round(opacity * level) for level in range(256)])
    )


def cast_shadow(
    picture: Image.Image, mask: Image.Image, colour: Colour, offset: tuple[int, int], blur: float, opacity: float
) -> None:
    """Lay the soft shadow of a mask, moved by ``offset`` pixels to the right and down."""
    lay(picture, ImageChops.offset(soften(mask, blur), *offset), colour, opacity)


def wave(rng: np.random.Generator, height: float, swing: float) -> Points:
    """Everything below a gently rolling line at ``height`` (share of the board), as a polygon."""
    x = np.linspace(-20, BOARD[0] + 20, 41)
    turns, begin = rng.uniform(0.6, 1.3), rng.uniform(0, 2 * np.pi)
    y = BOARD[1] * (height + swing * np.sin(begin + turns * 2 * np.pi * x / BOARD[0]))
    line = np.stack([x, y], axis=1)
    return np.concatenate([line, [[BOARD[0] + 20, BOARD[1] + 20], [-20, BOARD[1] + 20]]])


def develop(board: Image.Image) -> Image.Image:
    """A board at the final size; this is what smooths the edges."""
    return board.reduce(OVERSAMPLING)


def to_pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture, dtype=np.float32)


def from_pixels(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
