from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys import schemas
from recsys.exceptions import ConfigError
from recsys.retrieval.filters import AllOf, Among, AnyOf, Compare, Missing, Not, matching, parse_filter


@pytest.fixture(scope="module")
def items() -> pl.DataFrame:
    """Four items; d has nothing but its id."""

    def item(name: str, category: str, language: str, author: str, tags: list[str], day: int, **attributes: str):
        return {
            schemas.ITEM_ID: name,
            schemas.CATEGORY: category,
            schemas.LANGUAGE: language,
            schemas.AUTHOR_ID: author,
            schemas.TAGS: tags,
            schemas.CREATED_AT: datetime(2024, 5, day, 12, tzinfo=UTC),
            schemas.ATTRIBUTES: list(attributes.items()),
        }

    rows = [
        item("a", "food", "zh", "u1", ["soup", "ice cream"], 1, safe="true", price="9"),
        item("b", "food", "en", "u2", ["soup"], 2, safe="false", price="12.5"),
        item("c", "旅行", "en", "u2", [], 3, price="cheap"),
        {schemas.ITEM_ID: "d"},
    ]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schemas.ITEMS)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("category = food", "ab"),
        ("category = 旅行", "c"),
        ("category != food", "c"),
        ("not category = food", "c"),
        ("category is missing", "d"),
        ("category is not missing", "abc"),
        ("author = u2 and language = en", "bc"),
        ("author_id in (u1, u2)", "abc"),
        ("author not in (u1)", "bc"),
        ("language = zh or language = en and author = u2", "abc"),
        ("(language = zh or language = en) and author = u2", "bc"),
        ("tags = soup", "ab"),
        ("tags = 'ice cream'", "a"),
        ('tags in ("ice cream", soup)', "ab"),
        ("tags != soup", "c"),
        ("created_at >= 2024-05-02", "bc"),
        ("created_at < 2024-05-02T12:00:00+00:00", "a"),
        ("created_at <= 2024-05-02T14:00:00+02:00", "ab"),
        ("safe = true", "a"),
        ("price < 10", "a"),
        ("price >= 9", "ab"),
        ("price = cheap", "c"),
        ("not (safe = true or price > 100)", "b"),
        ("category=food AND NOT language=zh", "b"),
        ("item_id = d", "d"),
    ],
)
def test_which_items_match(items: pl.DataFrame, text: str, expected: str) -> None:
    mask = matching(parse_filter(text), items)
    assert mask.dtype == np.bool_
    assert "".join(items[schemas.ITEM_ID].filter(pl.Series(mask))) == expected


def test_a_text_becomes_typed_nodes() -> None:
    parsed = parse_filter("a = 1 and (b in (x, 'y z') or not c is missing)")
    expected = AllOf((Compare("a", "=", "1"), AnyOf((Among("b", ("x", "y z")), Not(Missing("c"))))))
    assert parsed == expected
    assert hash(parsed) == hash(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the end at 1, where a column should stand"),
        ("category food", "has 'food' at 10, where =, !=, <"),
        ("category =", "has the end at 11, where a value should stand"),
        ("category = food and", "has the end at 20, where a column"),
        ("(category = food", r"has the end at 17, where \) should stand"),
        ("category = food language = zh", "has 'language' at 17, where and, or, or the end"),
        ("category in food", r"has 'food' at 13, where \( should stand"),
        ("category = and", "has 'and' at 12, where a value should stand"),
        ("category = 'food", "cannot be read from 11 on"),
        ("category not = food", "has '=' at 14, where in should stand"),
    ],
)
def test_a_text_that_is_no_filter_is_refused_where_it_goes_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("catgory = food", "no column or attribute 'catgory'. Did you mean category?"),
        ("weight = 1", "no column or attribute 'weight'. There are item_id, .*category, .*price, safe"),
        ("created_at > yesterday", "created_at is compared with 'yesterday'. Give a time such as 2024-05-01"),
        ("price < much", "price is compared with 'much'. Give a number"),
        ("category < food", "category is text, which has no order"),
        ("tags > soup", "tags is a list"),
    ],
)
def test_columns_and_values_that_do_not_fit_are_named(items: pl.DataFrame, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        matching(parse_filter(text), items)
