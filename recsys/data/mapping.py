"""Mapping: which of their files and columns become our tables, written as a small TOML file.

.. code-block:: toml

    [items]
    files = "notes-*.parquet"                      # Parquet, CSV or .jsonl (also .gz); a name, a glob or several
    columns.item_id = "id"                         # ours = theirs
    columns.text = ["intro", "body"]               # text columns are joined by a line break
    columns.tags = "keywords"
    columns.category = "keywords[0]"               # one element of a list; "keywords[1:]" is the rest of it
    columns.images = "picture"                     # bytes, or a path inside the folder, or a list of either
    columns.image_features = "embedding"           # vectors of the covers, where they are at hand
    attributes = ["year", "country"]               # kept under their names
    constants.language = "en"
    delimiters.keywords = "|"                      # their column holds a list in one text

    [[events]]                                     # a table may have several sources
    files = "clicks.csv"
    columns = { user_id = "uid", item_id = "id", timestamp = "time" }
    constants.event_type = "click"
    time_format = "s"

A key that is misspelt, or a column that the table does not have, is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import BeforeValidator, Field, model_validator

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.delimited import Dialect


def _several(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


Names = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
"""One name or a list of them."""


@dataclass(frozen=True)
class ColumnPart:
    """A reference to their column: ``name``, ``name[2]`` (an element of a list) or ``name[1:]`` (all from there)."""

    name: str
    element: int | None = None
    elements_from: int | None = None

    @classmethod
    def parse(cls, reference: str) -> ColumnPart:
        found = re.fullmatch(r"(.+)\[(\d+)(:?)\]", reference)
        if found is None:
            return cls(reference)
        name, number, rest = found.groups()
        return cls(name, elements_from=int(number)) if rest else cls(name, element=int(number))


class JoinedTable(BaseConfig):
    """A table whose rows belong to items; the first of an item's rows is that of its cover."""

    files: Names
    key: str  # their column with the item's id
    order: str | None = None  # ascending; default: as the rows come


class PictureTable(JoinedTable):
    """Pictures that stand in a table of their own, one a row."""

    image: str  # bytes, or a path inside the folder
    csv: Dialect = Dialect()


class VectorTable(JoinedTable):
    """Vectors of pictures that stand in a Parquet table of their own, one a row."""

    vector: str  # a list of numbers


class Source(BaseConfig):
    """Where the rows of one table come from."""

    table: ClassVar[str]
    schema_: ClassVar[pa.Schema]
    required: ClassVar[tuple[str, ...]]

    files: Names
    columns: dict[str, Names]  # ours = theirs
    constants: dict[str, str | int | float] = Field(default_factory=dict)  # ours = one value for every row
    attributes: tuple[str, ...] = ()  # their columns to keep under their own names
    delimiters: dict[str, str] = Field(default_factory=dict)  # theirs = what separates the list's elements
    values: dict[str, dict[str, str]] = Field(default_factory=dict)  # ours = {their value = our value}; others stay
    missing: tuple[str, ...] = ()  # texts that mean "no value", such as "nan" or "None"
    time_format: str | None = None  # s, ms, us, ns since 1970, or a strptime format; dates of Parquet need none
    csv: Dialect = Dialect()

    @model_validator(mode="after")
    def _columns_exist(self) -> Source:
        allowed = [name for name in self.schema_.names if name != schemas.ATTRIBUTES]
        for name in (*self.columns, *self.constants, *self.values):
            if name not in allowed:
                raise ValueError(f"{self.table} have no column {name!r}; there are {', '.join(allowed)}")
        if both := self.columns.keys() & self.constants.keys():
            raise ValueError(f"{sorted(both)[0]!r} is both a column and a constant")
        if absent := [name for name in self.required if name not in (*self.columns, *self.constants)]:
            raise ValueError(f"{self.table} need {', '.join(absent)}, as a column or a constant")
        return self


class ItemSource(Source):
    """Items; their pictures in a column (``columns.images``) or in a table of their own (``[items.images]``).

    So too the vectors of their covers: ``columns.image_features`` or ``[items.image_features]``.
    """

    table = "items"
    schema_ = schemas.ITEMS
    required = (schemas.ITEM_ID,)

    images: PictureTable | None = None
    image_features: VectorTable | None = None

    @model_validator(mode="after")
    def _one_place_for_pictures(self) -> ItemSource:
        for name in self.joined:
            if name in self.columns:
                raise ValueError(f"{name} come from columns.{name} or from [items.{name}], not from both")
        return self

    @property
    def joined(self) -> dict[str, JoinedTable]:
        """Our columns that come from a table of their own, and that table."""
        tables = {schemas.IMAGES: self.images, schemas.IMAGE_FEATURES: self.image_features}
        return {name: table for name, table in tables.items() if table is not None}


class UserSource(Source):
    """Users."""

    table = "users"
    schema_ = schemas.USERS
    required = (schemas.USER_ID,)


class EventSource(Source):
    """Events, with a ``timestamp`` or a per-user ``order``."""

    table = "events"
    schema_ = schemas.EVENTS
    required = (schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE)

    @model_validator(mode="after")
    def _in_time(self) -> EventSource:
        if not {schemas.TIMESTAMP, schemas.ORDER} & self.columns.keys():
            raise ValueError(
                "events need a timestamp or, where there is none, an order (a number, each user's oldest first)"
            )
        return self


class QuerySource(Source):
    """Judged queries. A ``query`` column that holds a list gives one query per element.

    Without ``query_id``, an element of a list is a query of its own; elsewhere the text is the id.
    """

    table = "queries"
    schema_ = schemas.QUERIES
    required = (schemas.QUERY, schemas.ITEM_ID, schemas.GRADE)


class Mapping(BaseConfig):
    """A whole data set: one source or several for each table."""

    items: Annotated[tuple[ItemSource, ...], BeforeValidator(_several), Field(min_length=1)]
    users: Annotated[tuple[UserSource, ...], BeforeValidator(_several)] = ()
    events: Annotated[tuple[EventSource, ...], BeforeValidator(_several)] = ()
    queries: Annotated[tuple[QuerySource, ...], BeforeValidator(_several)] = ()

    def sources(self) -> tuple[Source, ...]:
        """All sources, items first."""
        return (*self.items, *self.users, *self.events, *self.queries)
