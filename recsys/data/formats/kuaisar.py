"""The published layout of KuaiSAR, recommendation and search on Kuaishou (Sun et al. 2023, arXiv 2306.07705).

``rec_inter.csv`` and ``src_inter.csv`` hold exposures, ``item_features.csv`` and ``user_features.csv`` describe. Both
spellings of the columns that differ between description and download are read. Captions and keywords are published as
lists of integers, one a word, and become texts of these numbers; an item without caption is described by the names of
its categories. Author 0, the day 1970-1-1 and categories named ``empty`` are padding. There are no positions and no
pictures. Not read: ``social_network.csv``.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.data.formats.shared import first_of, milliseconds, number, one_event_a_row, same
from recsys.data.mapped import MappedReader
from recsys.data.mapping import EventSource, ItemSource, Mapping, UserSource
from recsys.data.reader import with_absent

RECOMMENDED, SEARCHED, ITEMS, USERS = "rec_inter.csv", "src_inter.csv", "item_features.csv", "user_features.csv"
_NO_CATEGORY = ("", "empty", "空", "UNKNOWN", "nan", "None")
_NO_AUTHOR = "0"

_ITEM, _USER = "item_id", "user_id"
_CAPTION, _KEYWORD = "caption", "keyword"
_LEVELS = ("first", "second", "third", "fourth")
_NAMES = ("name_en", "name")
_ITEM_ATTRIBUTES = ("item_type", "upload_type")
_USER_ATTRIBUTES = ("search_active_level", "rec_active_level", "onehot_feat1", "onehot_feat2")
_UPLOADED = "upload_time"
_DAYS, _ZONE, _FIRST_YEAR = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"), "Asia/Shanghai", 1971
_CLICKED, _FORWARDED, _MS_PLAYED = "click_cnt", "forward", "playing_time"
_SESSION = "search_session_id"
_MOMENTS = ("search_session_timestamp", "timestamp")
_DWELL = "dwell"


def kuaisar(folder: Path) -> MappedReader:
    """KuaiSAR's tables, or those of KuaiSAR-small; users and searches where their files are."""
    present = {name for name in (USERS, SEARCHED) if any(folder.glob(f"{name}*"))}
    exposures = [RECOMMENDED, *(name for name in (SEARCHED,) if name in present)]
    mapping = Mapping(
        items=(_items(),),
        users=(_users(),) if USERS in present else (),
        events=tuple(_events(name) for name in exposures),
    )
    return MappedReader(folder, mapping, {ItemSource.table: _described, EventSource.table: _happened})


def _items() -> ItemSource:
    return ItemSource(
        files=(ITEMS,),
        columns={
            **same(schemas.ITEM_ID, schemas.TEXT, schemas.AUTHOR_ID, schemas.TAGS, schemas.CREATED_AT),
            schemas.CATEGORY: (f"{schemas.TAGS}[0]",),
        },
        attributes=_ITEM_ATTRIBUTES,
    )


def _users() -> UserSource:
    return UserSource(files=(USERS,), columns={schemas.USER_ID: (_USER,)}, attributes=_USER_ATTRIBUTES)


def _events(file: str) -> EventSource:
    told = (schemas.REQUEST_ID, schemas.QUERY, schemas.EVENT_TYPE, schemas.VALUE, schemas.TIMESTAMP)
    return EventSource(
        files=(file,),
        columns=same(schemas.USER_ID, schemas.ITEM_ID, *told),
        constants={schemas.SCENE: "search" if file == SEARCHED else "feed"},
        time_format="ms",
    )


def _words(column: str) -> pl.Expr:
    """``[12, 7]`` as ``12 7``; an empty list is null."""
    words = pl.col(column).str.extract_all(r"\d+").list.join(" ")
    return pl.when(words != "").then(words)


def _described(file: Path, items: pl.DataFrame) -> pl.DataFrame:
    levels = []
    for level in _LEVELS:
        names = [
            f"{level}_level_category_{name}" for name in _NAMES if f"{level}_level_category_{name}" in items.columns
        ]
        given = [pl.when(~pl.col(name).str.strip_chars().is_in(_NO_CATEGORY)).then(pl.col(name)) for name in names]
        levels.append(pl.coalesce(given) if given else pl.lit(None, pl.String))
    items = with_absent(items, (_CAPTION, _UPLOADED, schemas.AUTHOR_ID, *_ITEM_ATTRIBUTES))
    text = pl.col(_UPLOADED).str.strip_chars()
    day = pl.coalesce(text.str.to_datetime(pattern, time_unit="ms", strict=False) for pattern in _DAYS)
    items = items.with_columns(pl.concat_list(levels).list.drop_nulls().alias(schemas.TAGS))
    categories = pl.col(schemas.TAGS).list.join(" ")
    return items.with_columns(
        pl.coalesce(_words(_CAPTION), pl.when(categories != "").then(categories)).alias(schemas.TEXT),
        pl.when(day.dt.year() >= _FIRST_YEAR).then(day.dt.replace_time_zone(_ZONE)).alias(schemas.CREATED_AT),
        pl.when(pl.col(schemas.AUTHOR_ID) != _NO_AUTHOR).then(schemas.AUTHOR_ID).alias(schemas.AUTHOR_ID),
    )


def _happened(file: Path, exposures: pl.DataFrame) -> pl.DataFrame:
    if file.name.startswith(SEARCHED):
        return _searched(exposures)
    exposures = with_absent(exposures, (schemas.CLICK, _FORWARDED, "like", "follow", _MS_PLAYED, schemas.TIMESTAMP))
    happened = {
        schemas.IMPRESSION: pl.lit(True),
        schemas.CLICK: number(schemas.CLICK) > 0,
        "like": number("like") > 0,
        "share": number(_FORWARDED) > 0,
        "follow": number("follow") > 0,
        _DWELL: number(_MS_PLAYED) > 0,
    }
    nothing = pl.lit(None, pl.String)
    return one_event_a_row(exposures, happened).with_columns(
        nothing.alias(schemas.REQUEST_ID),
        nothing.alias(schemas.QUERY),
        pl.when(pl.col(schemas.EVENT_TYPE) == _DWELL).then(number(_MS_PLAYED) / 1000).alias(schemas.VALUE),
        milliseconds(pl.col(schemas.TIMESTAMP)).alias(schemas.TIMESTAMP),
    )


def _searched(exposures: pl.DataFrame) -> pl.DataFrame:
    moment = milliseconds(first_of(exposures, _MOMENTS))
    happened = {schemas.IMPRESSION: pl.lit(True), schemas.CLICK: number(_CLICKED) > 0}
    return one_event_a_row(with_absent(exposures, (_CLICKED,)), happened).with_columns(
        pl.format("search/{}", _SESSION).alias(schemas.REQUEST_ID),
        _words(_KEYWORD).alias(schemas.QUERY),
        pl.lit(None, pl.Float64).alias(schemas.VALUE),
        moment.alias(schemas.TIMESTAMP),
    )
