"""The visual styles of the cover pictures: each draws any motif in any palette in its own unmistakable manner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image, ImageChops

from recsys.data.world.canvas import (
    BOARD,
    HEIGHT,
    WIDTH,
    blank,
    cast_shadow,
    develop,
    disc,
    discs,
    fill,
    from_pixels,
    gradient,
    lay,
    mask_of,
    mix,
    soften,
    stroke,
    to_pixels,
    tone,
    wave,
)
from recsys.data.world.motifs import Motif, Points, Shape
from recsys.data.world.palettes import Colour, Palette

_W, _H = BOARD
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)
_GRID = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)  # y and x from -1 to 1


@dataclass(frozen=True)
class Style:
    """A manner of drawing.

    Attributes:
        name: never mentioned by any text.
        draw: makes a picture of final size from chance, a motif already in place (board pixels), and a palette.
    """

    name: str
    draw: Callable[[np.random.Generator, Motif, Palette], Image.Image]


def _flat(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """Large calm planes of colour with a sun behind."""
    board = blank(mix(palette.tint, palette.paper, 0.35))
    side = rng.choice((0.3, 0.7))
    disc(board, _W * side, _H * rng.uniform(0.3, 0.42), _W * rng.uniform(0.36, 0.46), mix(palette.paper, _WHITE, 0.5))
    left, right = rng.permutation([rng.uniform(0.6, 0.68), rng.uniform(0.74, 0.84)])
    for begin, end, colour in (
        (left, right, mix(palette.accent, palette.tint, 0.25)),
        (right + 0.06, left + 0.16, palette.main),
    ):
        fill(board, np.array([[0, _H * begin], [_W, _H * end], [_W, _H], [0, _H]]), colour)
    lay(board, ImageChops.offset(_silhouette(motif), 14, 14), mix(palette.main, palette.ink, 0.35), 0.25)
    for shape in motif:
        fill(board, shape.points, _deepen(palette, shape))
    return develop(board)


def _watercolour(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """Washes that bleed into wet paper, with darker rims where the pigment dried."""
    paper = mix(palette.paper, _WHITE, 0.55)
    picture = Image.new("RGB", (WIDTH, HEIGHT), paper)
    for colour, size in ((palette.tint, 0.5), (palette.accent, 0.34), (palette.tint, 0.36), (palette.main, 0.26)):
        x, y = _W * rng.uniform(0.1, 0.9), _H * rng.uniform(0.08, 0.92)
        _pigment(picture, develop(mask_of(_wobbly(rng, x, y, _W * size))), colour, 0.5, 5)
    lay(picture, soften(develop(_silhouette(motif)), 4), paper, 0.85)
    for name, shapes in groupby(motif, key=lambda shape: shape.tone):
        trembling = (shape.points + rng.normal(0, 1.2, shape.points.shape) for shape in shapes)
        _pigment(picture, develop(mask_of(*trembling)), tone(palette, name), 0.8, 1)
    fibre = rng.standard_normal((HEIGHT // 2, WIDTH // 2), dtype=np.float32).repeat(2, 0).repeat(2, 1)
    return from_pixels(to_pixels(picture) + 2.4 * fibre[:, :, None])


def _lineart(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """Pen on paper, one patch of colour slipped behind."""
    paper = mix(palette.paper, _WHITE, 0.45)
    board = blank(paper)
    fill(board, _wobbly(rng, _W * rng.uniform(0.42, 0.58), _H * rng.uniform(0.46, 0.56), _W * 0.36), palette.tint)
    fills = {"main": mix(palette.main, paper, 0.6), "accent": mix(palette.accent, paper, 0.5), "ink": palette.ink}
    for shape in motif:
        fill(board, shape.points, fills.get(shape.tone, paper))
        stroke(board, shape.points, palette.ink, 4)
    line = _H * rng.uniform(0.84, 0.88)
    begin, end = _W * rng.uniform(0.08, 0.2), _W * rng.uniform(0.8, 0.92)
    stroke(board, np.array([[begin, line], [(begin + end) / 2, line + 3], [end, line]]), palette.ink, 3)
    for x, y in rng.uniform((0.08, 0.06), (0.92, 0.2), (5, 2)) * BOARD:
        arm = rng.uniform(5, 9)
        stroke(board, np.array([[x - arm, y], [x + arm, y]]), palette.ink, 3)
        stroke(board, np.array([[x, y - arm], [x, y + arm]]), palette.ink, 3)
    return develop(board)


def _filmgrain(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """A backlit afternoon on old film: soft focus, bokeh, a light leak, a vignette and heavy grain."""
    picture = gradient(palette.main, mix(palette.tint, palette.paper, 0.3), (WIDTH, HEIGHT))
    for x, y, size in rng.uniform((0, 0, 0.04), (1, 0.8, 0.13), (9, 3)):
        light = Image.new("L", picture.size, 0)
        disc(light, x * WIDTH, y * HEIGHT, size * WIDTH, 255)
        lay(picture, light, palette.paper, rng.uniform(0.15, 0.4))
    picture = soften(picture, 2.5)
    lay(picture, develop(mask_of(wave(rng, 0.84, 0.015))), mix(palette.ink, palette.main, 0.25))
    mask = develop(_silhouette(motif))
    cast_shadow(picture, mask, mix(palette.paper, _WHITE, 0.5), (2, -3), 5, 0.75)
    layer = blank(palette.ink)
    for shape in motif:
        fill(layer, shape.points, mix(_deepen(palette, shape), palette.ink, 0.6 if shape.tone == "main" else 0.3))
    picture.paste(develop(layer), (0, 0), mask)
    pixels = to_pixels(soften(picture, 0.8))
    y, x = _GRID
    leak = np.exp(-3 * ((x - float(rng.choice((-1, 1)))) ** 2 + (y - rng.uniform(-1, -0.2)) ** 2)) * np.float32(0.7)
    pixels = pixels + leak[:, :, None] * (np.array(mix(palette.accent, _WHITE, 0.45), np.float32) - pixels)
    pixels *= (1.05 - 0.19 * (x**2 + y**2))[:, :, None]
    grain = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    return from_pixels(14 + 0.93 * pixels + 12 * grain[:, :, None])


def _polka(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """A paper badge on printed wrapping paper: dots in rows, the motif in the middle."""
    board = blank(mix(palette.main, palette.tint, 0.3))
    step, radius = rng.choice((44, 56)), rng.uniform(0.17, 0.25)
    columns, rows = np.arange(0, _W + step, step), range(_H // (step // 2) + 2)
    dots = [(x + (row % 2) * step / 2, row * step / 2) for row in rows for x in columns]
    discs(board, dots, radius * step, mix(palette.paper, _WHITE, 0.2))
    badge = Image.new("L", BOARD, 0)
    centre = np.mean([shape.points.mean(axis=0) for shape in motif], axis=0)
    x, y, size = _W / 2, 0.7 * _H / 2 + 0.3 * centre[1], 0.42 * _W
    disc(badge, x, y, size, 255)
    cast_shadow(board, badge, palette.ink, (4, 12), 14, 0.4)
    lay(board, badge, mix(palette.paper, _WHITE, 0.4))
    inside = tuple(Shape((shape.points - centre) * 0.86 + (x, y), shape.tone) for shape in motif)
    for shape in inside:
        fill(board, shape.points, _deepen(palette, shape))
    return develop(board)


def _neon(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """Glowing tubes in the dark above a wet floor."""
    night = mix(palette.ink, _BLACK, 0.55)
    board = gradient(mix(night, palette.main, 0.2), night)
    for x, y in rng.uniform((0, 0), (1, 0.7), (26, 2)) * BOARD:
        disc(board, x, y, rng.uniform(0.8, 2.4), mix(palette.tint, night, 0.3))
    tubes, cores = blank(_BLACK), blank(_BLACK)
    for shape in motif:
        colour = _vivid({"ink": palette.main, "paper": palette.tint}.get(shape.tone, tone(palette, shape.tone)))
        stroke(tubes, shape.points, colour, 6)
        stroke(cores, shape.points, mix(colour, _WHITE, 0.55), 3)
    picture, light, core = develop(board), develop(tubes), develop(cores)
    floor = min(HEIGHT - 20, int(max(shape.points[:, 1].max() for shape in motif)) * HEIGHT // _H + 8)
    mirrored = light.transpose(Image.Transpose.FLIP_TOP_BOTTOM).crop((0, HEIGHT - floor, WIDTH, HEIGHT))
    wet = Image.new("RGB", picture.size, _BLACK)
    wet.paste(soften(mirrored, 4), (0, floor))
    picture = ImageChops.screen(picture, wet.point([round(0.55 * level) for level in range(256)] * 3))
    for glow in (soften(light, 16), soften(light, 5), core):
        picture = ImageChops.add(picture, glow)
    return picture


def _papercut(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """Sheets of cut paper, one above the other, each with its shadow."""
    picture = gradient(mix(palette.paper, _WHITE, 0.3), palette.tint, (WIDTH, HEIGHT))
    shadow = mix(palette.ink, _BLACK, 0.3)
    moon = Image.new("L", BOARD, 0)
    disc(moon, _W * rng.uniform(0.25, 0.75), _H * rng.uniform(0.18, 0.28), _W * rng.uniform(0.15, 0.22), 255)
    _sheet(picture, develop(moon), mix(palette.accent, palette.paper, 0.35), shadow, (0, 4))
    for height, share in ((0.42, 0.15), (0.56, 0.45), (0.7, 0.8)):
        sheet = mask_of(wave(rng, height + rng.uniform(-0.02, 0.02), rng.uniform(0.015, 0.04)))
        _sheet(picture, develop(sheet), mix(palette.tint, palette.main, share), shadow, (0, -5))
    half = len(motif) // 2
    for part in (motif[:half], motif[half:]):
        layer = blank(_deepen(palette, part[0], against_main=True))
        for shape in part:
            fill(layer, shape.points, _deepen(palette, shape, against_main=True))
        mask = develop(_silhouette(part))
        cast_shadow(picture, mask, shadow, (2, 5), 4, 0.45)
        picture.paste(develop(layer), (0, 0), mask)
    front = mask_of(wave(rng, 0.86, 0.02))
    _sheet(picture, develop(front), mix(palette.main, palette.ink, 0.5), shadow, (0, -5))
    return picture


def _halftone(rng: np.random.Generator, motif: Motif, palette: Palette) -> Image.Image:
    """A two-ink print: dots that grow towards one edge, inks a little out of register."""
    ground = mix(palette.paper, _WHITE, 0.15)
    board = blank(ground)
    step, upwards = 17, rng.random() < 0.5
    ink = mix(palette.main, palette.tint, 0.25)
    for row in range(_H // step + 2):
        depth = row * step / _H if upwards else 1 - row * step / _H
        radius = step * 0.7 * max(0.0, depth - 0.12) ** 0.8
        if radius > 1:
            columns = np.arange((row % 2) * step / 2, _W + step, step)
            discs(board, ((x, row * step) for x in columns), radius, ink)
    lay(board, _silhouette(motif), ground)
    slip = rng.uniform(5, 9) * rng.choice((-1.0, 1.0), 2)
    plate = blank(_WHITE)
    for shape in motif:
        fill(board, shape.points + slip, mix(_deepen(palette, shape), ground, 0.35))
        fill(plate, shape.points, _deepen(palette, shape) if shape.tone != "paper" else _WHITE)
    return develop(ImageChops.multiply(board, plate))


STYLES = (
    Style("flat", _flat),
    Style("watercolour", _watercolour),
    Style("lineart", _lineart),
    Style("filmgrain", _filmgrain),
    Style("polka", _polka),
    Style("neon", _neon),
    Style("papercut", _papercut),
    Style("halftone", _halftone),
)


def _deepen(palette: Palette, shape: Shape, against_main: bool = False) -> Colour:
    """The tone of a shape where it must stand out from a ground of paper and tint, or of the main tone."""
    if shape.tone == "main":
        return mix(palette.main, palette.paper, 0.55) if against_main else mix(palette.main, palette.ink, 0.12)
    if shape.tone == "tint":
        return mix(palette.tint, palette.main, 0.2)
    return tone(palette, shape.tone)


def _vivid(colour: Colour) -> Colour:
    """The colour at full light."""
    brightest = max(colour)
    low = min(colour) * 0.55
    red, green, blue = (round(255 * max(channel - low, 0) / (brightest - low)) for channel in colour)
    return red, green, blue


def _wobbly(rng: np.random.Generator, x: float, y: float, size: float) -> Points:
    """A round patch with an uneven edge."""
    angle = np.linspace(0, 2 * np.pi, 61)
    begin = rng.uniform(0, 2 * np.pi, 4)
    waves = sum(np.sin((k + 2) * angle + begin[k]) / (k + 2) for k in range(4))
    radius = size * (1 + 0.18 * waves)
    return np.stack([x + radius * np.cos(angle), y + 1.15 * radius * np.sin(angle)], axis=1)


def _pigment(picture: Image.Image, wash: Image.Image, colour: Colour, opacity: float, bleed: float) -> None:
    """Lay a wash: edges bleed, and pigment gathers inside the rim."""
    wet = soften(wash, bleed)
    rim = ImageChops.subtract(ImageChops.multiply(wet, wash), soften(wash, 3 * bleed))
    lay(picture, wet, colour, opacity)
    lay(picture, rim, mix(colour, _BLACK, 0.2), min(1.0, opacity + 0.2))


def _sheet(picture: Image.Image, mask: Image.Image, colour: Colour, shadow: Colour, offset: tuple[int, int]) -> None:
    """Lay a sheet of paper with its shadow."""
    cast_shadow(picture, mask, shadow, offset, 5, 0.4)
    lay(picture, mask, colour)


def _silhouette(motif: Motif) -> Image.Image:
    return mask_of(*(shape.points for shape in motif))
