import io
import json
from datetime import UTC, datetime

import polars as pl
import pytest
from PIL import Image

from recsys import schemas
from recsys.data.media import ImageLimits
from recsys.data.reader import Batch
from recsys.data.validation import Validator
from recsys.exceptions import ConfigError, DataError

NOW = datetime(2024, 6, 1, tzinfo=UTC)
ID, TITLE, TEXT, IMAGES = schemas.ITEM_ID, schemas.TITLE, schemas.TEXT, schemas.IMAGES
VECTOR = schemas.IMAGE_FEATURES


def jpeg(colour="red"):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "JPEG")
    return stream.getvalue()


def batch(table, rows, time_format=None, schema=None):
    frame = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    return Batch(table, "f.csv", frame.with_row_index(schemas.ROW), time_format)


def validator(items=()):
    judge = Validator(ImageLimits(), NOW)
    if items:
        judge.validate(batch("items", [{ID: item, TITLE: "t"} for item in items]))
    return judge


def event(**fields):
    return {schemas.USER_ID: "u", ID: "a", schemas.EVENT_TYPE: "click", schemas.ORDER: 0} | fields


def reasons(rejected):
    return rejected.select(schemas.ROW, schemas.REASON).rows()


def test_each_fault_of_an_item_and_the_rows_around_it():
    good = jpeg()
    rows = [
        {ID: "a", TITLE: "kept", IMAGES: [good]},
        {ID: " ", TITLE: "no id", IMAGES: None},
        {ID: "b", TITLE: "  ", IMAGES: None},
        {ID: "a", TITLE: "again", IMAGES: None},
        {ID: "c", TITLE: "text only: its picture is broken", IMAGES: [good[:100]]},
        {ID: "d", TITLE: None, IMAGES: [b"", good]},
        {ID: "e", TITLE: None, IMAGES: [b"junk"]},
        {ID: "b", TITLE: "its first row was rejected, so it is no double", IMAGES: []},
    ]
    kept, rejected = validator().validate(batch("items", rows))
    assert kept.select(ID, IMAGES).rows() == [("a", [good]), ("c", None), ("d", [good]), ("b", None)]
    assert kept.columns == schemas.ITEMS.names
    assert sorted(reasons(rejected)) == [
        (1, "empty item_id"),
        (2, "neither picture nor text"),
        (3, "duplicate item_id"),
        (4, "picture that cannot be decoded"),
        (5, "empty picture"),
        (6, "neither picture nor text"),
        (6, "not a JPEG, PNG or WebP picture"),
    ]
    record = rejected.filter(pl.col(schemas.ROW) == 3)[schemas.RECORD].item()
    assert json.loads(record) == {ID: "a", TITLE: "again"}
    assert set(rejected[schemas.FILE]) == {"f.csv"}


def test_a_vector_that_cannot_be_used_goes_and_its_item_stays():
    nan, inf = float("nan"), float("inf")
    rows = [
        {ID: "", TITLE: "rejected: its width is not that of the set", VECTOR: [1.0]},
        {ID: "a", TITLE: "t", VECTOR: [nan, 1.0, 2.0, 3.0]},
        {ID: "b", TITLE: "the first vector", VECTOR: [1.0, 2.0]},
        {ID: "b", TITLE: "a double", VECTOR: [nan, 2.0]},
        {ID: "c", TITLE: "t", VECTOR: [1.0, 2.0, 3.0]},
        {ID: "d", TITLE: "t", VECTOR: [inf, 2.0]},
        {ID: "e", TITLE: "t", VECTOR: [None, None]},
        {ID: "f", TITLE: "t", VECTOR: [1.0, None]},
        {ID: "g", TITLE: "more than half precision holds", VECTOR: [1e5, 1.0]},
        {ID: "h", TITLE: "none", VECTOR: None},
        {ID: "i", TITLE: "none", VECTOR: []},
        {ID: "j", TITLE: None, VECTOR: [3.0, 4.0]},
        {ID: "k", TITLE: "t", VECTOR: [0.0, 65504.0]},
    ]
    judge = validator()
    kept, rejected = judge.validate(batch("items", rows))
    assert kept.schema[VECTOR] == pl.List(pl.Float16)
    assert kept[ID].to_list() == list("abcdefghik")
    assert dict(kept.select(ID, VECTOR).drop_nulls().rows()) == {"b": [1, 2], "k": [0, 65504]}
    not_finite = "image_features not finite in half precision"
    assert sorted(reasons(rejected)) == [
        (0, "empty item_id"),
        (1, not_finite),
        (3, "duplicate item_id"),
        (4, "image_features of another width"),
        (5, not_finite),
        (6, not_finite),
        (7, not_finite),
        (8, not_finite),
        (11, "neither picture nor text"),
    ]
    records = {row: json.loads(record) for row, record in rejected.select(schemas.ROW, schemas.RECORD).rows()}
    assert records[4] == {ID: "c", "width": 3}
    assert VECTOR not in records[3]
    kept, rejected = judge.validate(batch("items", [{ID: "l", TITLE: "a later batch", VECTOR: [1.0]}]))
    assert kept[VECTOR].to_list() == [None]
    assert reasons(rejected) == [(0, "image_features of another width")]


@pytest.mark.parametrize("kind", [pl.List(pl.Float32), pl.List(pl.Float64), pl.Array(pl.Float16, 2), pl.List(pl.Int8)])
def test_vectors_may_be_lists_of_any_number(kind):
    rows = [{ID: "a", TITLE: "t", VECTOR: [1, -2]}, {ID: "b", TITLE: "t", VECTOR: None}]
    kept, rejected = validator().validate(batch("items", rows, schema={VECTOR: kind}))
    assert kept[VECTOR].to_list() == [[1, -2], None]
    assert rejected.is_empty()


def test_a_number_is_no_vector():
    with pytest.raises(DataError, match=r"'image_features' holds Float64, not List\(Float16\)"):
        validator().validate(batch("items", [{ID: "a", TITLE: "t", VECTOR: 1.0}]))


def test_doubles_are_found_across_batches():
    judge = validator(["a", "b"])
    kept, rejected = judge.validate(batch("items", [{ID: "b", TITLE: "t"}, {ID: "c", TITLE: "t"}]))
    assert kept[ID].to_list() == ["c"]
    assert reasons(rejected) == [(0, "duplicate item_id")]


def test_texts_are_stripped_and_blank_tags_go():
    row = {ID: 7, TITLE: " t ", TEXT: "\n", schemas.TAGS: ["x ", "", " "]}
    kept, _ = validator().validate(batch("items", [row]))
    assert kept.select(ID, TITLE, TEXT, schemas.TAGS).rows() == [("7", "t", None, ["x"])]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({schemas.USER_ID: None}, "empty user_id"),
        ({ID: ""}, "empty item_id"),
        ({ID: "z"}, "unknown item"),
        ({schemas.EVENT_TYPE: "clik"}, "unknown event_type"),
        ({schemas.EVENT_TYPE: None}, "empty event_type"),
        ({schemas.SCENE: "home"}, "unknown scene"),
        ({schemas.VALUE: float("nan")}, "value is not finite"),
        ({schemas.VALUE: float("inf")}, "value is not finite"),
        ({schemas.PROPENSITY: float("nan")}, "propensity outside 0..1"),
        ({schemas.PROPENSITY: 0.0}, "propensity outside 0..1"),
        ({schemas.PROPENSITY: 1.1}, "propensity outside 0..1"),
        ({schemas.POSITION: -1.0}, "negative position"),
        ({schemas.POSITION: 1.5}, "unreadable position"),
        ({schemas.POSITION: float("nan")}, "unreadable position"),
        ({schemas.POSITION: 1e12}, "unreadable position"),
        ({schemas.ORDER: None}, "neither timestamp nor order"),
        ({schemas.TIMESTAMP: NOW.timestamp() + 1}, "timestamp in the future"),
        ({schemas.TIMESTAMP: 1e18}, "unreadable timestamp"),
        ({schemas.TIMESTAMP: float("nan")}, "unreadable timestamp"),
    ],
)
def test_each_fault_of_an_event(fault, reason):
    whole = {
        schemas.SCENE: "feed",
        schemas.VALUE: 1.0,
        schemas.PROPENSITY: 1.0,
        schemas.POSITION: 0.0,
        schemas.TIMESTAMP: NOW.timestamp(),
    }
    if fault == {schemas.ORDER: None}:
        fault = fault | {schemas.TIMESTAMP: None}
    rows = [event(**whole), event(**(whole | fault)), event(**whole)]
    kept, rejected = validator(["a"]).validate(batch("events", rows, "s"))
    assert reasons(rejected) == [(1, reason)]
    assert kept.select(schemas.USER_ID, ID, schemas.POSITION, schemas.TIMESTAMP).rows() == [("u", "a", 0, NOW)] * 2


def test_numbers_written_as_text_are_read_and_nonsense_is_rejected():
    rows = [
        event(value=" 4.5 ", position="2", order="17"),
        event(value="", position="3.0", order="18"),
        event(value="nan", position="1", order="19"),
        event(value="four", position="1", order="20"),
    ]
    kept, rejected = validator(["a"]).validate(batch("events", rows))
    assert kept.select(schemas.VALUE, schemas.POSITION, schemas.ORDER).rows() == [(4.5, 2, 17), (None, 3, 18)]
    assert reasons(rejected) == [(2, "value is not finite"), (3, "unreadable value")]


@pytest.mark.parametrize(
    ("written", "time_format"),
    [
        (1_700_000_000, "s"),
        ("1700000000", "s"),
        (1_700_000_000.0, "s"),
        (1_700_000_000_000, "ms"),
        (1_700_000_000_000_000, "us"),
        (1_700_000_000_000_000_000, "ns"),
        ("2023-11-14 22:13:20", "%Y-%m-%d %H:%M:%S"),
        ("2023-11-15T06:13:20+0800", "%Y-%m-%dT%H:%M:%S%z"),
        (datetime(2023, 11, 14, 22, 13, 20), None),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None),
    ],
)
def test_one_moment_in_every_notation(written, time_format):
    rows = [event(timestamp=written)]
    kept, _ = validator(["a"]).validate(batch("events", rows, time_format))
    assert kept[schemas.TIMESTAMP].to_list() == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)]


def test_text_that_does_not_match_the_pattern_is_rejected_as_it_was_written():
    rows = [event(timestamp="2023-11-14"), event(timestamp="14.11.2023")]
    kept, rejected = validator(["a"]).validate(batch("events", rows, "%Y-%m-%d"))
    assert kept[schemas.TIMESTAMP].to_list() == [datetime(2023, 11, 14, tzinfo=UTC)]
    assert reasons(rejected) == [(1, "unreadable timestamp")]
    assert json.loads(rejected[schemas.RECORD].item())[schemas.TIMESTAMP] == "14.11.2023"


def test_numbers_without_a_unit_are_an_error_that_shows_one():
    with pytest.raises(ConfigError, match=r"1700000000.*time_format = 's'"):
        validator(["a"]).validate(batch("events", [event(timestamp=1_700_000_000)]))


def test_a_column_of_another_kind_is_an_error_that_names_both():
    with pytest.raises(DataError, match=r"'images' holds Int64, not List\(Binary\)"):
        validator().validate(batch("items", [{ID: "a", TITLE: "t", IMAGES: 7}]))


def test_queries_are_judged_once_and_graded_within_bounds():
    def query(query_id, item, grade, text="q"):
        return {schemas.QUERY_ID: query_id, schemas.QUERY: text, ID: item, schemas.GRADE: grade}

    rows = [query("1", "a", 3), query("1", "b", 0), query("1", "a", 2), query("2", "a", 4), query("3", "z", 1)]
    rows.append(query("4", "a", 1, " "))
    kept, rejected = validator(["a", "b"]).validate(batch("queries", rows))
    assert kept.select(schemas.QUERY_ID, ID, schemas.GRADE).rows() == [("1", "a", 3), ("1", "b", 0)]
    assert reasons(rejected) == [
        (2, "duplicate query_id and item_id"),
        (3, "grade outside 0..3"),
        (4, "unknown item"),
        (5, "empty query"),
    ]


def test_users_and_items_of_the_future():
    later = datetime(2025, 1, 1)
    users = [{schemas.USER_ID: "u", schemas.CREATED_AT: NOW}, {schemas.USER_ID: "v", schemas.CREATED_AT: later}]
    kept, rejected = validator().validate(batch("users", [users[0]]))
    assert kept[schemas.USER_ID].to_list() == ["u"]
    kept, rejected = validator().validate(batch("users", [users[1]]))
    assert reasons(rejected) == [(0, "created_at in the future")]


def test_nothing_is_lost_on_random_rows():
    """Kept and rejected together are the rows that came, each once, whatever is wrong with them."""
    generator = pl.Series(range(2000))
    rows = pl.DataFrame(
        {
            schemas.USER_ID: (generator % 7).cast(pl.String).replace({"0": ""}),
            ID: (generator % 5).cast(pl.String),
            schemas.EVENT_TYPE: pl.Series(["click", "like", "nonsense"] * 667)[:2000],
            schemas.VALUE: pl.Series([1.0, float("nan"), None, 2.0] * 500),
            schemas.ORDER: generator,
        }
    ).with_row_index(schemas.ROW)
    kept, rejected = validator(["1", "2", "3"]).validate(Batch("events", "f", rows))
    expected = rows.filter(
        (pl.col(schemas.USER_ID) != "")
        & pl.col(ID).is_in(["1", "2", "3"])
        & (pl.col(schemas.EVENT_TYPE) != "nonsense")
        & (pl.col(schemas.ROW) % 4 != 1)
    )
    assert kept[schemas.ORDER].to_list() == expected[schemas.ORDER].to_list()
    assert sorted([*kept[schemas.ORDER], *rejected[schemas.ROW]]) == list(range(2000))
