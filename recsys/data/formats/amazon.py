"""The published layout of Amazon Reviews 2023 (Hou et al. 2024, arXiv 2403.03952), of one category or several.

``meta_<Category>.jsonl`` describes products, ``<Category>.jsonl`` holds the reviews, joined by ``parent_asin``; in
place of reviews the published 5-core files ``<Category>*.csv`` will do. A review becomes a click whose value is the
rating. The pictures of products are addresses, of which the largest of the main one is kept as the attribute
``image_url``. Not read: ``average_rating`` and ``rating_number``, a snapshot taken after the reviews; the pictures and
texts of reviews.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.data.formats.shared import milliseconds
from recsys.data.json_lines import is_json_lines
from recsys.data.mapped import MappedReader
from recsys.data.mapping import EventSource, ItemSource, Mapping
from recsys.data.reader import with_absent
from recsys.exceptions import DataError

META = "meta_*.jsonl"
_META_PREFIX = "meta_"
_PRODUCT, _USER, _RATING, _TIME = "parent_asin", "user_id", "rating", "timestamp"
_TITLE, _TEXTS, _CATEGORIES, _STORE = "title", ("features", "description"), "categories", "store"
_LISTS = (*_TEXTS, _CATEGORIES)
_MAIN, _PRICE, _IMAGES, _IMAGE_URL = "main_category", "price", "images", "image_url"
_SIZES = ("hi_res", "large", "thumb")


def amazon_2023(folder: Path) -> MappedReader:
    """Products from ``meta_*.jsonl[.gz]``; events from all reviews, or from 5-core files where there are no reviews.

    Raises:
        DataError: neither reviews nor 5-core files are there.
    """
    products: list[str] = []
    reviews: list[str] = []
    ratings: list[str] = []
    for file in sorted(folder.iterdir()):
        if is_json_lines(file):
            (products if file.name.startswith(_META_PREFIX) else reviews).append(file.name)
        elif file.name.removesuffix(".gz").endswith(".csv"):
            ratings.append(file.name)
    if not reviews and not ratings:
        raise DataError(f"{folder} holds no reviews.", "Put <Category>.jsonl or the 5-core <Category>.csv into it.")
    mapping = Mapping(items=(_products(tuple(products)),), events=(_reviews(tuple(reviews or ratings)),))
    return MappedReader(folder, mapping, {ItemSource.table: _described, EventSource.table: _rated})


def _products(files: tuple[str, ...]) -> ItemSource:
    return ItemSource(
        files=files,
        columns={
            schemas.ITEM_ID: (_PRODUCT,),
            schemas.TITLE: (_TITLE,),
            schemas.TEXT: _TEXTS,
            schemas.TAGS: (_CATEGORIES,),
            schemas.CATEGORY: (_MAIN,),
            schemas.AUTHOR_ID: (_STORE,),
        },
        constants={schemas.LANGUAGE: "en"},
        attributes=(_PRICE, _IMAGE_URL),
    )


def _reviews(files: tuple[str, ...]) -> EventSource:
    return EventSource(
        files=files,
        columns={
            schemas.USER_ID: (_USER,),
            schemas.ITEM_ID: (_PRODUCT,),
            schemas.VALUE: (_RATING,),
            schemas.TIMESTAMP: (_TIME,),
        },
        constants={schemas.EVENT_TYPE: schemas.CLICK},
        time_format="ms",
    )


def _described(file: Path, products: pl.DataFrame) -> pl.DataFrame:
    products = with_absent(products, (_PRODUCT, _TITLE, *_LISTS, _MAIN, _STORE, _PRICE, _IMAGES))
    images = pl.col(_IMAGES).cast(pl.List(pl.String))
    main = images.list.filter(pl.element().str.json_path_match("$.variant") == "MAIN")
    chosen = pl.coalesce(main.list.first(), images.list.first())
    address = pl.coalesce(chosen.str.json_path_match(f"$.{size}") for size in _SIZES)
    price = pl.col(_PRICE).cast(pl.Float64, strict=False).cast(pl.String)
    return products.with_columns(address.alias(_IMAGE_URL), price)


def _rated(file: Path, reviews: pl.DataFrame) -> pl.DataFrame:
    reviews = with_absent(reviews, (_PRODUCT, _USER, _RATING, _TIME))
    return reviews.with_columns(milliseconds(pl.col(_TIME)).alias(_TIME))
