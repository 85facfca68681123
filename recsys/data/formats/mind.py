"""The published layout of MIND, the log of Microsoft News (Wu et al. 2020, aclanthology.org/2020.acl-main.331).

``news.tsv`` and ``behaviors.tsv``, without header, in the folder or in folders of their own such as
``MINDsmall_train``. The order in which the news of an impression were shown is not published (they are shuffled), so
there are no positions. What users clicked before the log is known by order alone: each user's list is kept once, one
second a click, ending where the log begins or at the user's first request. A test part has no clicks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys import schemas
from recsys.data.delimited import Dialect
from recsys.data.formats.shared import one_event_a_row, same
from recsys.data.mapped import MappedReader
from recsys.data.mapping import EventSource, ItemSource, Mapping
from recsys.data.reader import Batch, with_absent
from recsys.types import UserId

NEWS, BEHAVIOURS = "**/news.tsv", "**/behaviors.tsv"
HISTORY_ENDS = datetime(2019, 11, 9, tzinfo=UTC)
_TIME = "%m/%d/%Y %I:%M:%S %p"

_CATEGORY, _SUBCATEGORY, _ENTITIES = "category", "subcategory", "title_entities"
_NEWS = ("news_id", _CATEGORY, _SUBCATEGORY, "news_title", "abstract", "url", _ENTITIES, "abstract_entities")
_BEHAVIOURS = ("impression_id", schemas.USER_ID, "time", "history", "impressions")
_TOLD = (schemas.REQUEST_ID, schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.TIMESTAMP)


class MindReader:
    """A :class:`recsys.data.reader.Reader` of one or several parts of MIND."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[Path]:
        return self._reader().files()

    def batches(self) -> Iterator[Batch]:
        return self._reader().batches()

    def _reader(self) -> MappedReader:
        known: set[UserId] = set()

        def events(file: Path, behaviours: pl.DataFrame) -> pl.DataFrame:
            part = file.parent.relative_to(self._folder).as_posix()
            return pl.concat(
                [_histories(behaviours, known), _impressions(behaviours, "" if part == "." else f"{part}/")]
            )

        return MappedReader(self._folder, _MAPPING, {ItemSource.table: _described, EventSource.table: events})


def _lines(*names: str) -> Dialect:
    return Dialect(delimiter="\t", quote=None, names=names)


_MAPPING = Mapping(
    items=(
        ItemSource(
            files=(NEWS,),
            columns={
                schemas.ITEM_ID: ("news_id",),
                schemas.TITLE: ("news_title",),
                schemas.TEXT: ("abstract",),
                schemas.TAGS: (schemas.TAGS,),
                schemas.CATEGORY: (_CATEGORY,),
            },
            constants={schemas.LANGUAGE: "en"},
            attributes=(_SUBCATEGORY, "url"),
            csv=_lines(*_NEWS),
        ),
    ),
    events=(
        EventSource(
            files=(BEHAVIOURS,),
            columns=same(*_TOLD),
            constants={schemas.SCENE: "feed"},
            csv=_lines(*_BEHAVIOURS),
        ),
    ),
)


def _described(file: Path, news: pl.DataFrame) -> pl.DataFrame:
    """Tags are the subcategory and the entities of the title."""
    news = with_absent(news, _NEWS)
    entities = [_labels(text) for text in news[_ENTITIES]]
    tags = pl.concat_list(pl.col(_SUBCATEGORY), pl.Series(entities, dtype=pl.List(pl.String)))
    return news.with_columns(tags.list.drop_nulls().list.unique(maintain_order=True).alias(schemas.TAGS))


def _labels(text: str | None) -> list[str]:
    """``Label`` of each entity; none where the JSON is broken."""
    try:
        entities: Any = json.loads(text or "[]")
    except ValueError:
        return []
    found = (
        [entity.get("Label") for entity in entities if isinstance(entity, dict)] if isinstance(entities, list) else []
    )
    return [label for label in found if isinstance(label, str)]


def _moment() -> pl.Expr:
    return pl.col("time").str.to_datetime(_TIME, time_unit="ms", time_zone="UTC", strict=False)


def _impressions(behaviours: pl.DataFrame, part: str) -> pl.DataFrame:
    shown = behaviours.select(
        schemas.ROW,
        schemas.USER_ID,
        pl.format("{}{}", pl.lit(part), "impression_id").alias(schemas.REQUEST_ID),
        _moment().alias(schemas.TIMESTAMP),
        pl.col("impressions").str.strip_chars().str.split(" ").alias("shown"),
    ).explode("shown", empty_as_null=True)
    shown = shown.with_columns(pl.col("shown").str.replace(r"-[01]$", "").alias(schemas.ITEM_ID))
    clicked = pl.col("shown").str.ends_with("-1")
    events = one_event_a_row(shown, {schemas.IMPRESSION: pl.lit(True), schemas.CLICK: clicked})
    return events.select(schemas.ROW, *_TOLD)


def _histories(behaviours: pl.DataFrame, known: set[UserId]) -> pl.DataFrame:
    """Earlier clicks of the users that are none of ``known``, who are added to it."""
    first = behaviours.unique(schemas.USER_ID, keep="first", maintain_order=True)
    fresh = first.filter(~pl.col(schemas.USER_ID).is_in(list(known)) & pl.col("history").is_not_null())
    known.update(fresh[schemas.USER_ID].drop_nulls())
    clicks = pl.col("history").str.strip_chars().str.split(" ")
    end = pl.min_horizontal(_moment(), pl.lit(HISTORY_ENDS).cast(pl.Datetime("ms", "UTC")))
    return (
        fresh.select(
            schemas.ROW, schemas.USER_ID, end=end, item_id=clicks, back=pl.int_ranges(clicks.list.len(), 0, -1)
        )
        .explode(schemas.ITEM_ID, "back")
        .select(
            schemas.ROW,
            pl.lit(None, pl.String).alias(schemas.REQUEST_ID),
            schemas.USER_ID,
            schemas.ITEM_ID,
            pl.lit(schemas.CLICK).alias(schemas.EVENT_TYPE),
            (pl.col("end") - pl.duration(seconds="back")).alias(schemas.TIMESTAMP),
        )
    )
