"""What the notes are before anyone sees them: authors with habits, and the latent attributes of every note."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.world.clock import DAY_MS, START_MS
from recsys.data.world.intents import INTENTS
from recsys.data.world.palettes import PALETTES
from recsys.data.world.styles import STYLES
from recsys.data.world.texts import NO_INTENT
from recsys.data.world.topics import EN, TOPICS, ZH

NO_LOOK = -1
"""Style and palette of a note without a picture."""

SHARE_WITHOUT_PICTURE = 0.06
SHARE_WITHOUT_TEXT = 0.06
SHARE_ZH = 0.6
SHARE_OF_OLD_NOTES = 0.45
OLDEST_NOTE_DAYS = 60
HABIT = 0.6
"""How often an author keeps to the usual topic, style, palette or intent."""
QUALITY_SPREAD = 0.4

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Notes:
    """Latent attributes of n notes, oldest first; every array is ``[n]``.

    Attributes:
        topic: what it is about, position in ``TOPICS``.
        subtopic: position in ``SUBTOPICS``.
        intent: position in ``INTENTS``, ``NO_INTENT`` where there is next to no text. Only the text shows it.
        style: position in ``STYLES``, ``NO_LOOK`` without a picture. Only the picture shows it.
        palette: position in ``PALETTES``, likewise.
        author: author number.
        quality: what every reader agrees on, in logits.
        created_at: milliseconds since 1970.
        is_zh: written in Chinese rather than English.
    """

    topic: IntArray
    subtopic: IntArray
    intent: IntArray
    style: IntArray
    palette: IntArray
    author: IntArray
    quality: npt.NDArray[np.float32]
    created_at: npt.NDArray[np.int64]
    is_zh: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.topic)

    def language(self, row: int) -> str:
        return ZH if self.is_zh[row] else EN


def draw_notes(rng: np.random.Generator, n_items: int, n_authors: int, n_days: int) -> Notes:
    """Invent authors, then the notes they write before and during the period.

    Args:
        rng: source of chance.
        n_items: number of notes.
        n_authors: number of authors; few of them write most of the notes.
        n_days: length of the period.
    """
    fame = rng.permutation((1 + np.arange(n_authors)) ** -0.7)
    author = rng.choice(n_authors, n_items, p=fame / fame.sum())

    def by_habit(n_kinds: int, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.int64]:
        usual = rng.choice(n_kinds, n_authors, p=weights)
        return np.where(rng.random(n_items) < HABIT, usual[author], rng.choice(n_kinds, n_items, p=weights))

    topic_weights = topic_popularity()
    topic = by_habit(len(TOPICS), topic_weights)
    parts = np.array([len(about.subtopics) for about in TOPICS])
    first_part = np.concatenate([[0], np.cumsum(parts)[:-1]])
    subtopic = first_part[topic] + (rng.random(n_items) * parts[topic]).astype(np.int64)
    intent, style, palette = by_habit(len(INTENTS)), by_habit(len(STYLES)), by_habit(len(PALETTES))

    missing = rng.random(n_items)
    without_picture = missing < SHARE_WITHOUT_PICTURE
    without_text = missing > 1 - SHARE_WITHOUT_TEXT
    writes_zh = rng.random(n_authors) < SHARE_ZH
    age_days = np.where(
        rng.random(n_items) < SHARE_OF_OLD_NOTES,
        rng.uniform(0, OLDEST_NOTE_DAYS, n_items),
        rng.uniform(-n_days, 0, n_items),
    )
    return Notes(
        topic=topic.astype(np.int32),
        subtopic=subtopic.astype(np.int32),
        intent=np.where(without_text, NO_INTENT, intent).astype(np.int32),
        style=np.where(without_picture, NO_LOOK, style).astype(np.int32),
        palette=np.where(without_picture, NO_LOOK, palette).astype(np.int32),
        author=author.astype(np.int32),
        quality=rng.normal(0, QUALITY_SPREAD, n_items).astype(np.float32),
        created_at=np.sort(START_MS - age_days * DAY_MS).astype(np.int64),
        is_zh=writes_zh[author],
    )


def topic_popularity() -> npt.NDArray[np.float64]:
    """Share of each topic among notes and among tastes: food and travel lead, crafts is a niche."""
    weights = (3.0 + np.arange(len(TOPICS))) ** -0.6
    return np.asarray(weights / weights.sum())
