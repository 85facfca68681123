"""The published layout of Qilin, one day of Xiaohongshu's logs (Chen et al. 2025, arXiv 2503.00501).

One folder a table (``notes/``, ``user_feat/``, ``recommendation_train/``, ``search_test/`` ...) of Parquet files whose
rows are requests and hold their exposures in a list. Requests are counted from 0 in every table, so ours are named
``<table>/<number>``. The official judgements are the clicks of ``search_test``, so these become the judged queries.

Not read: the counters of notes, which can contain the day of evaluation; ``recent_clicked_note_idxs``, whose moments
are not published; the lists of the official retrievers; ``dqa``, whose requests are searches again.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import polars.selectors as cs

from recsys import schemas
from recsys.data.formats.shared import first_of, milliseconds, number, one_event_a_row, same
from recsys.data.joined import open_parquet
from recsys.data.mapped import MappedReader
from recsys.data.mapping import EventSource, ItemSource, Mapping, QuerySource, UserSource
from recsys.data.reader import resolve, with_absent
from recsys.exceptions import DataError

FEED, SEARCH = "recommendation", "search"
TEST = "test"
_PARTS = ("train", TEST)
_FILES = "*.parquet"
_MISSING = ("nan", "None")

_NOTE, _USER = "note_idx", "user_idx"
_IMAGES, _TAXONOMY = "image_path", ("taxonomy1_id", "taxonomy2_id", "taxonomy3_id")
_DETAILS = ("rec_result_details_with_idx", "search_result_details_with_idx")
_REQUESTS = ("request_idx", "search_idx")
_MOMENTS = ("request_timestamp", "search_timestamp", "timestamp")
_ACTIONS = (schemas.CLICK, "like", "collect", "comment", "share")
_DWELL, _SECONDS = "dwell", "page_time"
_NOTE_ATTRIBUTES = ("note_type", "commercial_flag", "image_num", "content_length", "video_duration")
_USER_ATTRIBUTES = ("gender", "platform", "age", "location", "fans_num", "follows_num")
_DENSE = tuple(f"dense_feat{number}" for number in range(1, 41))


def qilin(folder: Path) -> MappedReader:
    """Qilin's tables in folders of their own; pictures where the paths of ``image_path`` lead inside ``folder``.

    Raises:
        DataError: there is no table of requests.
    """
    tables = [f"{kind}_{part}" for kind in (FEED, SEARCH) for part in _PARTS]
    present = [table for table in tables if any((folder / table).glob(_FILES))]
    if not present:
        raise DataError(f"{folder} holds none of {', '.join(tables)}.", "Put a table's Parquet files into its folder.")
    mapping = Mapping(
        items=(_notes(folder),),
        users=(_users(),),
        events=tuple(_requests(table) for table in present),
        queries=tuple(_judged(table) for table in present if table == f"{SEARCH}_{TEST}"),
    )
    reshape = {
        ItemSource.table: _described,
        UserSource.table: _known,
        EventSource.table: _events,
        QuerySource.table: _clicked,
    }
    return MappedReader(folder, mapping, reshape)


def _notes(folder: Path) -> ItemSource:
    files = f"notes/{_FILES}"
    images = {schemas.IMAGES: (_IMAGES,)} if _has_pictures(folder, files) else {}
    return ItemSource(
        files=(files,),
        columns={
            schemas.ITEM_ID: (_NOTE,),
            schemas.TITLE: ("note_title",),
            schemas.TEXT: ("note_content",),
            schemas.TAGS: _TAXONOMY,
            schemas.CATEGORY: (_TAXONOMY[0],),
            **images,
        },
        constants={schemas.LANGUAGE: "zh"},
        attributes=_NOTE_ATTRIBUTES,
        missing=_MISSING,
    )


def _has_pictures(folder: Path, files: str) -> bool:
    """Whether the first path of a picture begins with a folder that is there."""
    for file in resolve(folder, files):
        for batch in open_parquet(file).iter_batches(1024, columns=[_IMAGES]):
            for paths in batch.column(0).to_pylist():
                for path in paths or ():
                    if path and path not in _MISSING:
                        return (folder / Path(path).parts[0]).exists()
    return False


def _users() -> UserSource:
    return UserSource(
        files=(f"user_feat/{_FILES}",),
        columns={schemas.USER_ID: (_USER,)},
        attributes=(*_USER_ATTRIBUTES, *_DENSE),
        missing=_MISSING,
    )


def _requests(table: str) -> EventSource:
    return EventSource(
        files=(f"{table}/{_FILES}",),
        columns={
            **same(schemas.REQUEST_ID, schemas.QUERY, schemas.POSITION),
            **same(schemas.EVENT_TYPE, schemas.VALUE, schemas.TIMESTAMP),
            schemas.USER_ID: (_USER,),
            schemas.ITEM_ID: (_NOTE,),
        },
        constants={schemas.SCENE: "search" if table.startswith(SEARCH) else "feed"},
        missing=_MISSING,
        time_format="ms",
    )


def _judged(table: str) -> QuerySource:
    return QuerySource(
        files=(f"{table}/{_FILES}",),
        columns={**same(schemas.QUERY_ID, schemas.QUERY, schemas.GRADE), schemas.ITEM_ID: (_NOTE,)},
        constants={schemas.LANGUAGE: "zh"},
        missing=_MISSING,
    )


def _described(file: Path, notes: pl.DataFrame) -> pl.DataFrame:
    return with_absent(notes, _NOTE_ATTRIBUTES).with_columns(cs.float().fill_nan(None))


def _known(file: Path, users: pl.DataFrame) -> pl.DataFrame:
    return with_absent(users, (*_USER_ATTRIBUTES, *_DENSE)).with_columns(cs.float().fill_nan(None))


def _exposures(file: Path, requests: pl.DataFrame) -> pl.DataFrame:
    """One row an exposure; a request without any keeps a row without a note."""
    return (
        requests.select(
            schemas.ROW,
            _USER,
            schemas.QUERY,
            pl.format("{}/{}", pl.lit(file.parent.name), first_of(requests, _REQUESTS)).alias(schemas.REQUEST_ID),
            first_of(requests, _DETAILS).alias("details"),
        )
        .explode("details", empty_as_null=True)
        .unnest("details")
    )


def _events(file: Path, requests: pl.DataFrame) -> pl.DataFrame:
    exposures = with_absent(_exposures(file, requests), (*_ACTIONS, _SECONDS, schemas.POSITION))
    exposures = exposures.with_columns(milliseconds(first_of(exposures, _MOMENTS)).alias(schemas.TIMESTAMP))
    happened = {schemas.IMPRESSION: pl.lit(True)}
    happened |= {action: number(action) > 0 for action in _ACTIONS}
    happened[_DWELL] = number(_SECONDS) > 0
    seconds = pl.when(pl.col(schemas.EVENT_TYPE) == _DWELL).then(number(_SECONDS))
    return one_event_a_row(exposures, happened).with_columns(seconds.alias(schemas.VALUE))


def _clicked(file: Path, requests: pl.DataFrame) -> pl.DataFrame:
    """Each note of a request once: grade 1 if it was clicked at any of its positions."""
    exposures = with_absent(_exposures(file, requests), (schemas.CLICK,))
    clicked = (number(schemas.CLICK) > 0).fill_null(False).cast(pl.Int8)
    request = [schemas.ROW, pl.col(schemas.REQUEST_ID).alias(schemas.QUERY_ID), schemas.QUERY, _NOTE]
    return exposures.group_by(request, maintain_order=True).agg(clicked.max().alias(schemas.GRADE))
