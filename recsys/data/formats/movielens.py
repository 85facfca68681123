"""The published layouts of MovieLens (https://grouplens.org/datasets/movielens; Harper & Konstan 2015).

A rating becomes a click whose value is the rating. ``tags.csv``, ``links.csv`` and ``genome-*.csv`` of the later sets
are not read: what users tag is known only after they watched.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.data.delimited import Dialect
from recsys.data.mapped import MappedReader
from recsys.data.mapping import EventSource, ItemSource, Mapping, UserSource

_MOVIE, _USER, _RATING, _TIME = "movieId", "userId", "rating", "timestamp"  # as the later sets spell them
_TITLE, _GENRES, _YEAR = "title", "genres", "year"
_NO_GENRE = ("unknown", "(no genres listed)")
# fmt: off
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on


def ml_100k(folder: Path) -> MappedReader:
    """MovieLens 100K: ``u.item`` (one flag per genre), ``u.user``, ``u.data``."""
    date, url = "release_date", "imdb_url"
    movies = _lines("|", _MOVIE, _TITLE, date, "video_release_date", url, *_GENRES_100K)
    users = _lines("|", _USER, "age", "gender", "occupation", "zip_code")
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K if genre not in _NO_GENRE]
    mapping = Mapping(
        items=(_movies("u.item", movies, date, url),),
        users=(_users("u.user", users),),
        events=(_ratings("u.data", _lines("\t", _USER, _MOVIE, _RATING, _TIME)),),
    )
    return _reader(folder, mapping, genres=pl.concat_list(flags).list.drop_nulls())


def ml_1m(folder: Path) -> MappedReader:
    """MovieLens 1M: ``movies.dat``, ``users.dat``, ``ratings.dat``."""
    users = _lines("::", _USER, "gender", "age", "occupation", "zip_code")
    mapping = Mapping(
        items=(_movies("movies.dat", _lines("::", _MOVIE, _TITLE, _GENRES)),),
        users=(_users("users.dat", users),),
        events=(_ratings("ratings.dat", _lines("::", _USER, _MOVIE, _RATING, _TIME)),),
    )
    return _reader(folder, mapping, genres=_listed_genres())


def ml_csv(folder: Path) -> MappedReader:
    """MovieLens 20M, 25M, 32M and latest: ``movies.csv``, ``ratings.csv``."""
    mapping = Mapping(items=(_movies("movies.csv", Dialect()),), events=(_ratings("ratings.csv", Dialect()),))
    return _reader(folder, mapping, genres=_listed_genres())


def _lines(delimiter: str, *names: str) -> Dialect:
    return Dialect(delimiter=delimiter, quote=None, encoding="latin-1", names=names)


def _movies(file: str, csv: Dialect, *attributes: str) -> ItemSource:
    return ItemSource(
        files=(file,),
        columns={
            schemas.ITEM_ID: (_MOVIE,),
            schemas.TITLE: (_TITLE,),
            schemas.TAGS: (_GENRES,),
            schemas.CATEGORY: (f"{_GENRES}[0]",),
        },
        constants={schemas.LANGUAGE: "en"},
        attributes=(_YEAR, *attributes),
        csv=csv,
    )


def _users(file: str, csv: Dialect) -> UserSource:
    attributes = ("age", "gender", "occupation")
    return UserSource(files=(file,), columns={schemas.USER_ID: (_USER,)}, attributes=attributes, csv=csv)


def _ratings(file: str, csv: Dialect) -> EventSource:
    return EventSource(
        files=(file,),
        columns={
            schemas.USER_ID: (_USER,),
            schemas.ITEM_ID: (_MOVIE,),
            schemas.VALUE: (_RATING,),
            schemas.TIMESTAMP: (_TIME,),
        },
        constants={schemas.EVENT_TYPE: schemas.CLICK},
        time_format="s",
        csv=csv,
    )


def _listed_genres() -> pl.Expr:
    genres = pl.col(_GENRES).str.split("|")
    return genres.list.filter(~pl.element().is_in(_NO_GENRE))


def _reader(folder: Path, mapping: Mapping, genres: pl.Expr) -> MappedReader:
    year = pl.col(_TITLE).str.extract(r"\((\d{4})\)\s*$")

    def described(file: Path, movies: pl.DataFrame) -> pl.DataFrame:
        return movies.with_columns(genres.alias(_GENRES), year.alias(_YEAR))

    return MappedReader(folder, mapping, {ItemSource.table: described})
