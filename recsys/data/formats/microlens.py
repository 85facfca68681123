"""The published layout of MicroLens-50k and -100k, short videos with covers (Ni et al. 2023, arXiv 2309.15379).

``MicroLens-50k_pairs.csv`` (or, where it is missing, the lists in ``MicroLens-50k_pairs.tsv``, which have an order but
no moments), ``MicroLens-50k_titles.csv`` (``MicroLens-100k_title_en.csv``) and pictures
``MicroLens-50k_covers/<item>.jpg``. A pair is a comment under the video, the only action that is published. Not read:
``*_likes_and_views.txt``, a snapshot taken after the comments.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.data.delimited import Dialect
from recsys.data.formats.shared import same
from recsys.data.mapped import MappedReader, Reshape
from recsys.data.mapping import EventSource, ItemSource, Mapping
from recsys.exceptions import DataError

TITLES, PAIRS = "MicroLens-*_title*.csv", "MicroLens-*_pairs.*"
_ITEM, _USER, _VIDEOS = "item", "user", "items"
_COVER = "cover"


def microlens(folder: Path) -> MappedReader:
    """Titles, pairs and, where they are, covers of one of the sets.

    Raises:
        DataError: the folder holds none, or several sets, whose numbers of users and items mean different things.
    """
    sets = sorted({file.name.split("_")[0] for file in folder.glob(f"{TITLES}*")})
    if len(sets) != 1:
        raise DataError(f"{folder} holds {', '.join(sets) or 'no set'} of MicroLens.", "Give each set its own folder.")
    covers = folder / f"{sets[0]}_covers"
    timed = any(folder.glob(f"{sets[0]}_pairs.csv*"))

    def described(file: Path, titles: pl.DataFrame) -> pl.DataFrame:
        item = pl.col(_ITEM).str.strip_chars()
        return titles.with_columns(pl.format("{}/{}.jpg", pl.lit(covers.name), item).alias(_COVER))

    mapping = Mapping(
        items=(
            ItemSource(
                files=(max(file.name for file in folder.glob(f"{sets[0]}_title*.csv*")),),  # originals before English
                columns={
                    schemas.ITEM_ID: (_ITEM,),
                    schemas.TITLE: ("title",),
                    **({schemas.IMAGES: (_COVER,)} if covers.is_dir() else {}),
                },
            ),
        ),
        events=(_pairs(f"{sets[0]}_pairs.csv") if timed else _lists(f"{sets[0]}_pairs.tsv"),),
    )
    reshape: dict[str, Reshape] = {ItemSource.table: described}
    if not timed:
        reshape[EventSource.table] = _ordered
    return MappedReader(folder, mapping, reshape)


def _pairs(file: str) -> EventSource:
    return EventSource(
        files=(file,),
        columns={schemas.USER_ID: (_USER,), schemas.ITEM_ID: (_ITEM,), schemas.TIMESTAMP: (schemas.TIMESTAMP,)},
        constants={schemas.EVENT_TYPE: "comment"},
        time_format="ms",
    )


def _lists(file: str) -> EventSource:
    return EventSource(
        files=(file,),
        columns={schemas.USER_ID: (_USER,), **same(schemas.ITEM_ID, schemas.ORDER)},
        constants={schemas.EVENT_TYPE: "comment"},
        csv=Dialect(delimiter="\t", quote=None, names=(_USER, _VIDEOS)),
    )


def _ordered(file: Path, lists: pl.DataFrame) -> pl.DataFrame:
    videos = pl.col(_VIDEOS).str.strip_chars().str.split(" ")
    return lists.select(
        schemas.ROW, _USER, videos.alias(schemas.ITEM_ID), pl.int_ranges(videos.list.len()).alias(schemas.ORDER)
    ).explode(schemas.ITEM_ID, schemas.ORDER)
