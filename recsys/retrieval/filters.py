"""Filters: a small typed language over the attributes of items, from its text to a mask over the catalogue.

    category = food and language in (zh, en) and created_at >= 2024-05-01 and not (author = u7 or safe = false)

A condition is ``COLUMN OP VALUE`` with ``=  !=  <  <=  >  >=``, ``COLUMN [not] in (VALUE, ...)`` or ``COLUMN is [not]
missing``; conditions are joined by ``and``, ``or``, ``not`` and parentheses. A column is one of the items' table
(``author`` stands for ``author_id``) or a key of their ``attributes``. What is compared with follows the column: a time
is written as ISO 8601 (UTC unless it says otherwise), ``=`` on tags asks whether the tag is among them, and attributes,
which are text, are numbers to ``<`` and its kin. A missing value satisfies no condition but ``is missing``, and not the
negation of one either, as in SQL. Values with spaces or brackets are quoted: ``'ice cream'``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import reduce
from operator import and_, or_
from typing import Literal, Protocol

import numpy as np
import polars as pl

from recsys import schemas
from recsys.exceptions import ConfigError
from recsys.index.selection import Mask

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")
SHORT_NAMES = {"author": schemas.AUTHOR_ID}
WORDS = ("and", "or", "not", "in", "is", "missing")
TOKEN = re.compile(r"""\s*(?:(<=|>=|!=|[=<>(),])|"([^"]*)"|'([^']*)'|([^\s()<>=!,'"]+))""")


class Filter(Protocol):
    """A condition on items."""

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        """Of Polars over the items; null where a value is missing.

        Raises:
            ConfigError: there is no such column, or a value that it cannot be compared with.
        """
        ...


@dataclass(frozen=True)
class Compare:
    """A column against one value."""

    column: str
    operator: Operator
    value: str

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        column, kind = column_of(items, self.column)
        if isinstance(kind, pl.List):
            if self.operator not in ("=", "!="):
                raise ConfigError(f"{self.column} is a list.", f"Ask {self.column} = {self.value}, or use in (...).")
            among = column.list.contains(self.value)
            return among if self.operator == "=" else ~among
        if self.operator not in ("=", "!=") and isinstance(kind, pl.String):
            if self.column in items.columns or SHORT_NAMES.get(self.column) in items.columns:
                raise ConfigError(f"{self.column} is text, which has no order.", "Use =, != or in (...).")
            column, kind = column.cast(pl.Float64, strict=False), pl.Float64()
        value = pl.lit(_typed(self.value, kind, self.column))
        match self.operator:
            case "=":
                return column == value
            case "!=":
                return column != value
            case "<":
                return column < value
            case "<=":
                return column <= value
            case ">":
                return column > value
            case ">=":
                return column >= value


@dataclass(frozen=True)
class Among:
    """A column against several values."""

    column: str
    values: tuple[str, ...]

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        return _joined(or_, [Compare(self.column, "=", value) for value in self.values], items)


@dataclass(frozen=True)
class Missing:
    """A column without a value."""

    column: str

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        return column_of(items, self.column)[0].is_null()


@dataclass(frozen=True)
class Not:
    """The contrary."""

    part: Filter

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        return ~self.part.expression(items)


@dataclass(frozen=True)
class AllOf:
    """Every part."""

    parts: tuple[Filter, ...]

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        return _joined(and_, self.parts, items)


@dataclass(frozen=True)
class AnyOf:
    """At least one part."""

    parts: tuple[Filter, ...]

    def expression(self, items: pl.DataFrame) -> pl.Expr:
        return _joined(or_, self.parts, items)


def matching(condition: Filter, items: pl.DataFrame) -> Mask:
    """Which items satisfy a filter.

    Args:
        condition: the filter.
        items: of a data set, in row order.

    Returns:
        ``[n]``, for :class:`recsys.index.selection.Selection`.

    Raises:
        ConfigError: see :meth:`Filter.expression`.
    """
    found = items.select(condition.expression(items).fill_null(value=False).alias("kept"))["kept"]
    return np.asarray(found.to_numpy(), np.bool_)


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        ConfigError: naming the place where it goes wrong.
    """
    return _Parser(text).read()


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    quoted: bool = False

    def says(self, word: str) -> bool:
        return not self.quoted and self.text.lower() == word


class _Parser:
    """Recursive descent: any = all (or all)*; all = one (and one)*; one = not one | ( any ) | condition."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), _Token("", len(text))]
        self._place = 0

    def read(self) -> Filter:
        found = self._any()
        if self._next.text or self._next.quoted:
            raise self._error("and, or, or the end")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, word: str) -> bool:
        if self._next.says(word):
            self._place += 1
            return True
        return False

    def _demand(self, word: str) -> None:
        if not self._take(word):
            raise self._error(word)

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self) -> Filter:
        if self._take("not"):
            return Not(self._one())
        if self._take("("):
            inside = self._any()
            self._demand(")")
            return inside
        column = self._word("a column")
        negated = self._take("not")
        if self._take("in"):
            found: Filter = Among(column, self._values())
            return Not(found) if negated else found
        if negated:
            raise self._error("in")
        if self._take("is"):
            negated = self._take("not")
            self._demand("missing")
            return Not(Missing(column)) if negated else Missing(column)
        for operator in OPERATORS:
            if self._take(operator):
                return Compare(column, operator, self._word("a value"))
        raise self._error("=, !=, <, <=, >, >=, in or is")

    def _values(self) -> tuple[str, ...]:
        self._demand("(")
        values = [self._word("a value")]
        while self._take(","):
            values.append(self._word("a value"))
        self._demand(")")
        return tuple(values)

    def _word(self, expected: str) -> str:
        token = self._next
        if not token.quoted and (not token.text or token.text in (*OPERATORS, *"(),") or token.text.lower() in WORDS):
            raise self._error(expected)
        self._place += 1
        return token.text

    def _error(self, expected: str) -> ConfigError:
        found = repr(self._next.text) if self._next.text else "the end"
        return ConfigError(
            f"The filter {self._text!r} has {found} at {self._next.start + 1}, where {expected} should stand.",
            "For example: category = food and language in (zh, en) and created_at >= 2024-05-01.",
        )


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text.rstrip()):
        found = TOKEN.match(text, place)
        if found is None:
            raise ConfigError(f"The filter {text!r} cannot be read from {place + 1} on.", "Close what is quoted.")
        group = found.lastindex or 0
        yield _Token(found[group], found.start(group), quoted=group in (2, 3))
        place = found.end()


def column_of(items: pl.DataFrame, name: str, whose: str = "Items") -> tuple[pl.Expr, pl.DataType]:
    """A column of a table of items or users, or one of their attributes, and its type.

    Args:
        items: the table.
        name: of the column, or of the attribute.
        whose: for the message.

    Raises:
        ConfigError: there is no such column.
    """
    full = SHORT_NAMES.get(name, name)
    plain = [column for column in items.columns if column != schemas.ATTRIBUTES]
    if full in plain:
        return pl.col(full), items.schema[full]
    keys: list[str] = []
    if schemas.ATTRIBUTES in items.columns:
        named = items.select(pl.col(schemas.ATTRIBUTES).map.keys().explode().drop_nulls().unique())
        keys = sorted(named[schemas.ATTRIBUTES].to_list())
    if name in keys:
        return pl.col(schemas.ATTRIBUTES).map.get(name), pl.String()
    near = get_close_matches(name, [*plain, *keys], 1)
    remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join([*plain, *keys])}."
    raise ConfigError(f"{whose} have no column or attribute {name!r}.", remedy)


def _typed(value: str, kind: pl.DataType, column: str) -> str | float | bool | datetime:
    """A value as its column's type.

    Raises:
        ConfigError: naming the column and the value.
    """
    try:
        if isinstance(kind, pl.Datetime):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(kind, pl.Boolean):
            return {"true": True, "false": False}[value.lower()]
        return float(value) if kind.is_numeric() else value
    except (ValueError, KeyError):
        wanted = {pl.Datetime: "a time such as 2024-05-01", pl.Boolean: "true or false"}.get(type(kind), "a number")
        raise ConfigError(f"{column} is compared with {value!r}.", f"Give {wanted}.") from None


def _joined(operator: Callable[[pl.Expr, pl.Expr], pl.Expr], parts: Iterable[Filter], items: pl.DataFrame) -> pl.Expr:
    return reduce(operator, [part.expression(items) for part in parts])
