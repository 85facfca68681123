"""What the cover pictures show: one motif per topic and a few that belong to none, as polygons without any style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Tone = Literal["paper", "tint", "main", "accent", "ink"]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shape:
    """A closed polygon.

    Attributes:
        points: corners, ``[n, 2]``, x to the right and y downwards; a motif fills about -1..1 in both.
        tone: which tone of the palette fills it.
    """

    points: Points
    tone: Tone

    def mirrored(self) -> Shape:
        return Shape(self.points * (-1, 1), self.tone)

    def moved(self, scale: float, tilt: float, centre: tuple[float, float]) -> Shape:
        """Scaled, turned by ``tilt`` radians and put at ``centre``."""
        turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        return Shape(scale * self.points @ turn + np.asarray(centre), self.tone)


Motif = tuple[Shape, ...]


def ellipse(tone: Tone, x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> Shape:
    """An ellipse, or its part between two angles in degrees (0 = right, 90 = down), closed by a chord."""
    angle = np.radians(np.linspace(start, stop, 49))
    return Shape(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), tone)


def polygon(tone: Tone, *corners: tuple[float, float]) -> Shape:
    return Shape(np.asarray(corners, dtype=np.float64), tone)


def box(tone: Tone, x0: float, y0: float, x1: float, y1: float, corner: float = 0.06) -> Shape:
    """A rectangle with rounded corners."""
    quarter = np.radians(np.linspace(0, 90, 7))
    arc = corner * np.stack([np.cos(quarter), np.sin(quarter)], axis=1)
    centres = ((x1, y1, 1, 1), (x0, y1, -1, 1), (x0, y0, -1, -1), (x1, y0, 1, -1))
    parts = []
    for x, y, right, down in centres:
        bend = arc * (right, down)
        parts.append((bend if right * down > 0 else bend[::-1]) + (x - right * corner, y - down * corner))
    return Shape(np.concatenate(parts), tone)


def ribbon(tone: Tone, width: float, *corners: tuple[float, float]) -> Shape:
    """A band of even width along a smooth curve through the corners."""
    knots = np.asarray(corners, dtype=np.float64)
    at = np.linspace(0, len(knots) - 1, 12 * (len(knots) - 1) + 1)
    k = np.minimum(at.astype(int), len(knots) - 2)
    t = (at - k)[:, None]
    p0, p1, p2, p3 = (knots[np.clip(k + step, 0, len(knots) - 1)] for step in (-1, 0, 1, 2))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    along = np.gradient(curve, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    return Shape(np.concatenate([curve + width / 2 * across, (curve - width / 2 * across)[::-1]]), tone)


def leaf(tone: Tone, x: float, y: float, length: float, degrees: float, fat: float = 0.3) -> Shape:
    """A leaf that grows from (x, y) towards an angle (-90 = upwards)."""
    t = np.linspace(0, 1, 17)
    half = fat * np.sin(np.pi * t**0.8)
    points = np.concatenate([np.stack([t, half], axis=1), np.stack([t, -half], axis=1)[::-1]])
    return Shape(points, tone).moved(length, np.radians(degrees), (x, y))


def _flower(x: float, y: float, size: float, petals: int = 6) -> Motif:
    angles = np.arange(petals) * 2 * np.pi / petals - np.pi / 2
    around = tuple(
        ellipse("main", x + size * 0.62 * np.cos(a), y + size * 0.62 * np.sin(a), size * 0.42, size * 0.42)
        for a in angles
    )
    return (*around, ellipse("accent", x, y, size * 0.36, size * 0.36))


_STEAM = tuple(
    ribbon("tint", 0.07, (x, -0.42), (x + 0.09, -0.58), (x - 0.05, -0.74), (x + 0.05, -0.92))
    for x in (-0.26, 0.02, 0.3)
)

BOWL: Motif = (
    *_STEAM,
    ribbon("ink", 0.06, (0.35, -0.28), (0.66, -0.62), (0.98, -0.96)),
    ribbon("ink", 0.06, (0.48, -0.22), (0.82, -0.53), (1.12, -0.84)),
    ellipse("accent", 0, -0.12, 0.84, 0.24),
    ellipse("paper", -0.24, -0.14, 0.26, 0.12),
    ellipse("main", -0.22, -0.15, 0.12, 0.07),
    leaf("ink", 0.1, -0.1, 0.36, -22, 0.22),
    ellipse("main", 0, -0.1, 0.9, 0.86, 0, 180),
    ellipse("paper", 0, 0.06, 0.76, 0.1, 8, 172),
    box("ink", -0.34, 0.72, 0.34, 0.86),
)
BOAT: Motif = (
    ellipse("tint", 0.52, -0.6, 0.3, 0.3),
    box("ink", -0.05, -0.95, 0.02, 0.36, 0.02),
    polygon("paper", (-0.1, -0.9), (-0.1, 0.24), (-0.78, 0.24)),
    polygon("main", (0.07, -0.78), (0.07, 0.24), (0.62, 0.24)),
    polygon("ink", (-0.86, 0.36), (0.86, 0.36), (0.6, 0.7), (-0.58, 0.7)),
    ribbon("accent", 0.1, (-1.05, 0.8), (-0.7, 0.7), (-0.35, 0.8), (0, 0.7), (0.35, 0.8), (0.7, 0.7), (1.05, 0.8)),
    ribbon("main", 0.08, (-0.8, 1.0), (-0.45, 0.91), (-0.1, 1.0), (0.25, 0.91), (0.6, 1.0)),
)
DRESS: Motif = (
    ribbon("ink", 0.05, (-0.55, -0.72), (0, -0.86), (0.55, -0.72)),
    ribbon("ink", 0.05, (0, -0.84), (0.08, -0.98), (-0.06, -1.06)),
    polygon(
        "main",
        *((-0.36, -0.74), (-0.22, -0.74), (-0.16, -0.5), (0.16, -0.5), (0.22, -0.74), (0.36, -0.74)),
        *((0.34, -0.3), (0.26, -0.02), (0.5, 0.46), (0.74, 0.9), (0.36, 0.97), (0, 1.0), (-0.36, 0.97), (-0.74, 0.9)),
        *((-0.5, 0.46), (-0.26, -0.02), (-0.34, -0.3)),
    ),
    polygon("accent", (-0.28, -0.1), (0.28, -0.1), (0.27, 0.03), (-0.27, 0.03)),
    ribbon("tint", 0.05, (-0.12, 0.2), (-0.22, 0.55), (-0.32, 0.88)),
    ribbon("tint", 0.05, (0.12, 0.2), (0.22, 0.55), (0.32, 0.88)),
)
ARMCHAIR: Motif = (
    polygon("tint", (0.62, -0.98), (0.98, -0.98), (1.12, -0.5), (0.48, -0.5)),
    box("ink", 0.77, -0.5, 0.83, 0.86, 0.02),
    box("ink", 0.6, 0.84, 1.0, 0.92, 0.03),
    box("main", -0.66, -0.62, 0.36, 0.5, 0.26),
    ellipse("accent", -0.16, 0.02, 0.27, 0.25),
    box("accent", -0.6, 0.2, 0.3, 0.52, 0.1),
    box("main", -0.92, -0.02, -0.56, 0.66, 0.16),
    box("main", 0.26, -0.02, 0.6, 0.66, 0.16),
    polygon("ink", (-0.78, 0.66), (-0.66, 0.66), (-0.76, 0.92), (-0.84, 0.92)),
    polygon("ink", (0.34, 0.66), (0.46, 0.66), (0.52, 0.92), (0.44, 0.92)),
)
COSMETICS: Motif = (
    box("main", -0.78, -0.3, -0.1, 0.9, 0.14),
    box("paper", -0.68, 0.12, -0.2, 0.56, 0.05),
    box("ink", -0.54, -0.52, -0.34, -0.28, 0.03),
    box("ink", -0.7, -0.66, -0.3, -0.5, 0.05),
    box("ink", 0.14, 0.36, 0.62, 0.9, 0.05),
    box("tint", 0.19, 0.1, 0.57, 0.38, 0.04),
    polygon("accent", (0.24, 0.12), (0.24, -0.34), (0.4, -0.58), (0.52, -0.56), (0.52, 0.12)),
    ellipse("accent", 0.78, -0.74, 0.1, 0.15),
    ellipse("tint", 0.02, -0.84, 0.07, 0.1),
)
DUMBBELL: Motif = (
    box("ink", -0.5, -0.08, 0.5, 0.08, 0.05),
    box("main", -0.72, -0.56, -0.42, 0.56, 0.12),
    box("main", 0.42, -0.56, 0.72, 0.56, 0.12),
    box("accent", -0.94, -0.38, -0.7, 0.38, 0.1),
    box("accent", 0.7, -0.38, 0.94, 0.38, 0.1),
    box("ink", -1.06, -0.1, -0.92, 0.1, 0.05),
    box("ink", 0.92, -0.1, 1.06, 0.1, 0.05),
    ribbon("tint", 0.06, (-0.2, -0.72), (-0.05, -0.84), (0.1, -0.72), (0.25, -0.84)),
    ribbon("tint", 0.06, (-0.2, 0.84), (-0.05, 0.72), (0.1, 0.84), (0.25, 0.72)),
)
CAT: Motif = (
    ribbon("main", 0.2, (0.52, 0.8), (0.94, 0.72), (0.96, 0.26), (0.72, 0.1)),
    ellipse("main", 0, 0.62, 0.58, 0.4),
    polygon("main", (-0.62, -0.2), (-0.6, -0.94), (-0.08, -0.52)),
    polygon("main", (0.62, -0.2), (0.6, -0.94), (0.08, -0.52)),
    polygon("accent", (-0.53, -0.45), (-0.52, -0.76), (-0.28, -0.56)),
    polygon("accent", (0.53, -0.45), (0.52, -0.76), (0.28, -0.56)),
    ellipse("main", 0, -0.12, 0.7, 0.56),
    ellipse("paper", 0, 0.08, 0.32, 0.24),
    ellipse("ink", -0.29, -0.16, 0.08, 0.11),
    ellipse("ink", 0.29, -0.16, 0.08, 0.11),
    polygon("ink", (-0.08, 0.0), (0.08, 0.0), (0, 0.09)),
    ellipse("paper", -0.22, 0.9, 0.16, 0.1),
    ellipse("paper", 0.22, 0.9, 0.16, 0.1),
)
BOOK: Motif = (
    polygon("ink", (-1.0, -0.42), (0, -0.28), (1.0, -0.42), (1.0, 0.62), (0, 0.76), (-1.0, 0.62)),
    polygon("paper", (-0.92, -0.56), (-0.5, -0.56), (0, -0.38), (0, 0.64), (-0.5, 0.48), (-0.92, 0.5)),
    polygon("tint", (0.92, -0.56), (0.5, -0.56), (0, -0.38), (0, 0.64), (0.5, 0.48), (0.92, 0.5)),
    *(ribbon("accent", 0.05, (-0.78, y), (-0.46, y + 0.02), (-0.14, y + 0.12)) for y in (-0.32, -0.12, 0.08, 0.28)),
    *(ribbon("main", 0.05, (0.14, y + 0.12), (0.46, y + 0.02), (0.78, y)) for y in (-0.32, -0.12, 0.08)),
    polygon("main", (0.42, 0.44), (0.58, 0.42), (0.58, 0.92), (0.5, 0.82), (0.42, 0.94)),
    ellipse("accent", 0.0, -0.82, 0.12, 0.12),
    ellipse("main", 0.3, -0.94, 0.06, 0.06),
    ellipse("tint", -0.28, -0.96, 0.08, 0.08),
)
FLOWERPOT: Motif = (
    ribbon("ink", 0.06, (0, 0.3), (0.03, -0.1), (0, -0.44)),
    ribbon("ink", 0.05, (-0.04, 0.3), (-0.24, 0.02), (-0.5, -0.18)),
    ribbon("ink", 0.05, (0.04, 0.3), (0.26, 0.06), (0.5, -0.06)),
    leaf("tint", 0.02, 0.14, 0.5, -38),
    leaf("tint", -0.02, 0.2, 0.5, -146),
    *_flower(0, -0.6, 0.34),
    *_flower(-0.54, -0.24, 0.22, 5),
    *_flower(0.54, -0.12, 0.22, 5),
    polygon("accent", (-0.44, 0.4), (0.44, 0.4), (0.32, 0.98), (-0.32, 0.98)),
    box("main", -0.54, 0.26, 0.54, 0.46, 0.05),
)
CUP: Motif = (
    *_STEAM,
    ellipse("ink", 0.7, 0.14, 0.32, 0.3),
    ellipse("tint", 0.7, 0.14, 0.19, 0.17),
    polygon("main", (-0.74, -0.26), (0.74, -0.26), (0.66, 0.3), (0.46, 0.66), (-0.46, 0.66), (-0.66, 0.3)),
    ellipse("paper", 0, -0.26, 0.74, 0.17),
    ellipse("ink", 0, -0.25, 0.64, 0.13),
    ellipse("tint", -0.12, -0.25, 0.17, 0.06),
    ellipse("tint", 0.12, -0.25, 0.17, 0.06),
    ribbon("tint", 0.06, (-0.52, 0.0), (-0.48, 0.24), (-0.36, 0.44)),
    ellipse("accent", 0, 0.78, 1.0, 0.15),
    ellipse("ink", 0, 0.74, 0.5, 0.06),
)
PEAKS: Motif = (
    ellipse("accent", 0.54, -0.66, 0.25, 0.25),
    polygon("tint", (-1.1, 0.6), (-0.5, -0.36), (0.12, 0.6)),
    polygon("main", (-0.7, 0.6), (0.14, -0.78), (1.06, 0.6)),
    polygon("paper", (0.14, -0.78), (0.45, -0.32), (0.28, -0.4), (0.15, -0.24), (0.0, -0.38), (-0.12, -0.35)),
    polygon("ink", (-0.82, 0.86), (-0.36, 0.14), (0.12, 0.86)),
    polygon("accent", (-0.5, 0.86), (-0.36, 0.42), (-0.2, 0.86)),
    polygon("ink", (0.46, 0.86), (0.62, 0.3), (0.78, 0.86)),
    polygon("ink", (0.68, 0.9), (0.84, 0.42), (1.0, 0.9)),
    box("tint", -1.1, 0.84, 1.1, 0.98, 0.06),
)
YARN: Motif = (
    ribbon("ink", 0.07, (-0.96, -0.94), (-0.3, -0.3), (0.3, 0.3)),
    ribbon("accent", 0.07, (0.96, -0.94), (0.3, -0.3), (-0.3, 0.3)),
    ellipse("ink", -0.96, -0.94, 0.11, 0.11),
    ellipse("accent", 0.96, -0.94, 0.11, 0.11),
    ellipse("main", 0, 0.14, 0.72, 0.72),
    *(ribbon("tint", 0.05, (-0.5 + s, 0.6), (-0.28 + s, 0.1), (0.12 + s, -0.3)) for s in (-0.04, 0.16, 0.36)),
    *(ribbon("accent", 0.05, (-0.62, -0.06 + s), (-0.2, -0.12 + s), (0.22, 0.16 + s)) for s in (-0.12, 0.04)),
    ribbon("main", 0.08, (0.3, 0.8), (0.62, 0.92), (0.82, 0.7), (1.04, 0.86)),
)
SPRIG: Motif = (
    ribbon("ink", 0.05, (-0.1, 1.0), (0.04, 0.3), (-0.02, -0.5)),
    leaf("main", -0.02, -0.4, 0.62, -90, 0.26),
    *(leaf("main", 0.02, y, 0.66 - 0.1 * k, -38, 0.26) for k, y in enumerate((0.5, 0.1, -0.24))),
    *(leaf("accent", 0.0, y, 0.66 - 0.1 * k, -142, 0.26) for k, y in enumerate((0.62, 0.24, -0.1))),
)
SUN_AND_CLOUD: Motif = (
    ellipse("accent", 0.3, -0.34, 0.5, 0.5),
    Shape(
        np.concatenate(
            [
                ellipse("main", -0.52, 0.32, 0.36, 0.32, 90, 280).points,
                ellipse("main", -0.08, 0.1, 0.46, 0.46, 190, 335).points,
                ellipse("main", 0.48, 0.3, 0.38, 0.34, 250, 450).points,
            ]
        ),
        "main",
    ),
    ribbon("tint", 0.07, (-0.7, 0.84), (-0.2, 0.8), (0.3, 0.84)),
    ribbon("tint", 0.07, (-0.2, 1.0), (0.2, 0.97), (0.6, 1.0)),
)
VASE: Motif = (
    *(ribbon("ink", 0.04, (0, 0), (0.5 * x, -0.4), (x, y)) for x, y in ((-0.5, -0.8), (0.04, -0.98), (0.52, -0.7))),
    *(ellipse("accent", x, y, 0.13, 0.13) for x, y in ((-0.5, -0.84), (-0.3, -0.62), (-0.52, -0.5), (0.52, -0.74))),
    *(ellipse("main", x, y, 0.12, 0.12) for x, y in ((0.04, -1.0), (-0.1, -0.76), (0.16, -0.7), (0.34, -0.46))),
    leaf("tint", 0.06, -0.22, 0.5, -20, 0.22),
    leaf("tint", -0.06, -0.22, 0.5, -165, 0.22),
    Shape(
        np.concatenate([ellipse("main", 0, 0.48, 0.48, 0.48, -65, 245).points, [[-0.16, -0.16], [0.16, -0.16]]]), "main"
    ),
    box("ink", -0.22, -0.24, 0.22, -0.12, 0.04),
    ellipse("paper", -0.2, 0.4, 0.08, 0.2),
)

OF_TOPIC: tuple[Motif, ...] = (
    *(BOWL, BOAT, DRESS, ARMCHAIR, COSMETICS, DUMBBELL),
    *(CAT, BOOK, FLOWERPOT, CUP, PEAKS, YARN),
)
"""The motif of each topic, in the order of ``TOPICS``."""
NEUTRAL: tuple[Motif, ...] = (SPRIG, SUN_AND_CLOUD, VASE)
