"""Colour palettes of the cover pictures: each one harmony of five tones, from paper to ink."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Five tones that go together, as RGB.

    Attributes:
        name: never mentioned by any text.
        paper: the lightest tone, for grounds.
        tint: a pale relative of the main tone.
        main: the tone that gives the palette its character.
        accent: a companion to the main tone.
        ink: the darkest tone, for lines and nights.
    """

    name: str
    paper: Colour
    tint: Colour
    main: Colour
    accent: Colour
    ink: Colour


def _palette(name: str, *tones: str) -> Palette:
    paper, tint, main, accent, ink = ((int(t[:2], 16), int(t[2:4], 16), int(t[4:], 16)) for t in tones)
    return Palette(name, paper, tint, main, accent, ink)


PALETTES = (
    _palette("rust", "FAF0E6", "F1CDB4", "D0653F", "E9A267", "4B2A24"),
    _palette("teal", "EDF7F5", "AFDCD8", "2A9392", "7CC6A4", "123F47"),
    _palette("emerald", "F2F5E6", "C9DAAE", "5C8A45", "B5B650", "27391F"),
    _palette("mauve", "F6F0FA", "DACBEC", "8B68C0", "C78BC9", "372652"),
    _palette("amber", "FFF8E3", "FBE2A0", "EDAE2B", "F2C869", "5A4015"),
    _palette("flamingo", "FEF1F3", "F9CDD6", "E56F8E", "F5A7A1", "58213A"),
    _palette("slate", "F2F4F5", "CED5DA", "6B7987", "A3ABB0", "252D37"),
    _palette("cobalt", "EDF2FC", "B8CFF3", "3264CE", "72B4E8", "15244F"),
)
