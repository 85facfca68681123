"""Generates the world: notes, readers and a month of behaviour, written as a data set with the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.dataset import ITEMS_PER_GROUP, DatasetWriter
from recsys.data.world.behaviour import simulate
from recsys.data.world.intents import INTENTS
from recsys.data.world.notes import NO_LOOK, Notes, draw_notes
from recsys.data.world.palettes import PALETTES
from recsys.data.world.people import People, draw_people, draw_requests
from recsys.data.world.pictures import draw_cover
from recsys.data.world.searches import Search, draw_searches, grades
from recsys.data.world.styles import STYLES
from recsys.data.world.texts import write
from recsys.data.world.topics import LANGUAGES, SUBTOPICS, TOPICS
from recsys.data.world.truth import Truth
from recsys.progress import track
from recsys.types import IdMap

_NOTES, _PEOPLE, _REQUESTS, _SEARCHES, _BEHAVIOUR, _TEXT, _PICTURE = range(7)


class WorldConfig(BaseConfig):
    """Size and seed of a world; the same config writes the same bytes."""

    seed: int = Field(7, ge=0)
    n_items: int = Field(2400, ge=20)
    n_users: int = Field(1200, ge=2)
    n_authors: int = Field(240, ge=2)
    n_days: int = Field(28, ge=2)
    n_requests: int = Field(12_500, ge=1)


@dataclass(frozen=True, eq=False)
class World:
    """Everything a world is made of before it is written down."""

    config: WorldConfig
    notes: Notes
    people: People
    searches: tuple[Search, ...]
    truth: Truth

    @classmethod
    def draw(cls, config: WorldConfig) -> World:
        """Invent notes, readers and what they may search for."""
        notes = draw_notes(_chance(config, _NOTES), config.n_items, config.n_authors, config.n_days)
        people = draw_people(_chance(config, _PEOPLE), config.n_users, config.n_authors, config.n_days)
        searches = draw_searches(_chance(config, _SEARCHES))
        items, users = (IdMap.of(_ids(letter, n)) for letter, n in (("n", len(notes)), ("u", len(people))))
        widths = (len(TOPICS), len(SUBTOPICS), len(INTENTS), len(STYLES), len(PALETTES), config.n_authors)
        return cls(config, notes, people, searches, Truth.of(items, users, notes, people, widths, config.n_days))

    def events(self) -> pl.DataFrame:
        """What happens during the period: rows of :data:`recsys.schemas.EVENTS` in order of time."""
        config = self.config
        requests = draw_requests(_chance(config, _REQUESTS), self.people, config.n_requests, config.n_days)
        chance = _chance(config, _BEHAVIOUR)
        return simulate(chance, self.truth, self.notes, self.people, self.searches, requests)

    def write(self, path: Path) -> dict[str, int]:
        """Write the data set and the truth; returns the number of rows per table."""
        items = self.truth.items
        with DatasetWriter(path) as writer:
            writer.write("users", _users(self.people, self.truth.users))
            writer.write("queries", _judgements(self.searches, self.notes, items))
            writer.write("events", self.events())
            for start in track(range(0, len(items), ITEMS_PER_GROUP), "Writing notes and drawing covers"):
                rows = range(start, min(start + ITEMS_PER_GROUP, len(items)))
                writer.write("items", [_item(self.config, self.notes, items, row) for row in rows])
        self.truth.save(path)
        return writer.counts


def generate(config: WorldConfig, path: Path) -> dict[str, int]:
    """Write a world as a data set.

    Args:
        config: its size and seed.
        path: directory to fill; readable with :class:`recsys.data.dataset.Dataset` and :meth:`Truth.open`.

    Returns:
        Number of rows per table.
    """
    return World.draw(config).write(path)


def _chance(config: WorldConfig, *stream: int) -> np.random.Generator:
    """An independent source of chance per part of the world, so that a change in one leaves the others as they were."""
    return np.random.default_rng([config.seed, *stream])


def _ids(letter: str, count: int) -> list[str]:
    return [f"{letter}{number:0{len(str(count))}d}" for number in range(1, count + 1)]


def _item(config: WorldConfig, notes: Notes, items: IdMap, row: int) -> dict[str, object]:
    language = notes.language(row)
    words = write(_chance(config, _TEXT, row), int(notes.subtopic[row]), int(notes.intent[row]), language)
    style, palette, topic = (int(values[row]) for values in (notes.style, notes.palette, notes.topic))
    cover = [] if style == NO_LOOK else [draw_cover(_chance(config, _PICTURE, row), topic, style, palette)]
    return {
        schemas.ITEM_ID: items[row],
        schemas.TITLE: words.title,
        schemas.TEXT: words.text,
        schemas.IMAGES: cover,
        schemas.AUTHOR_ID: f"a{notes.author[row] + 1:0{len(str(config.n_authors))}d}",
        schemas.TAGS: list(words.tags),
        schemas.CATEGORY: TOPICS[topic].name,
        schemas.LANGUAGE: language,
        schemas.CREATED_AT: _moment(notes.created_at[row]),
    }


def _users(people: People, users: IdMap) -> list[dict[str, object]]:
    return [
        {
            schemas.USER_ID: user,
            schemas.CREATED_AT: _moment(joined_at),
            schemas.ATTRIBUTES: {schemas.LANGUAGE: LANGUAGES[language]},
        }
        for user, joined_at, language in zip(users, people.joined_at, people.language, strict=True)
    ]


def _judgements(searches: tuple[Search, ...], notes: Notes, items: IdMap) -> pl.DataFrame:
    frames = []
    for query_id, search in zip(_ids("q", len(searches)), searches, strict=True):
        grade = grades(search, notes)
        relevant = grade > 0
        frames.append(
            pl.DataFrame(
                {schemas.ITEM_ID: items.externals(np.flatnonzero(relevant)), schemas.GRADE: grade[relevant]}
            ).with_columns(
                pl.lit(query_id).alias(schemas.QUERY_ID),
                pl.lit(search.text).alias(schemas.QUERY),
                pl.lit(search.language).alias(schemas.LANGUAGE),
            )
        )
    return pl.concat(frames)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
