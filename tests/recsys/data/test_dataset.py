from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import schemas
from recsys.data.dataset import ITEMS_PER_GROUP, TABLES, Dataset, DatasetWriter

COUNT = 2 * ITEMS_PER_GROUP + 7


def cover(row):
    """Item ``row`` has ``row % 3`` pictures."""
    return f"cover of {row}".encode() if row % 3 else None


def vector(row):
    """Every fifth item has a vector that tells its row."""
    return None if row % 5 else [row / 8, -1.0, 0.1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    items = [
        {
            schemas.ITEM_ID: f"i{row}",
            schemas.TITLE: f"title {row}",
            schemas.IMAGES: [cover(row), b"second"][: row % 3] if row % 3 else None,
            schemas.IMAGE_FEATURES: vector(row),
            schemas.ATTRIBUTES: {"row": str(row)},
        }
        for row in range(COUNT)
    ]
    with DatasetWriter(path) as writer:
        writer.write("items", items[:100])
        writer.write("items", items[100:])
        assert writer.counts["items"] == COUNT
    return Dataset(path)


def test_items_are_in_row_order_without_pictures_and_vectors(data):
    assert data.items[schemas.ITEM_ID].to_list() == [f"i{row}" for row in range(COUNT)]
    assert not {schemas.IMAGES, schemas.IMAGE_FEATURES} & set(data.items.columns)
    assert data.items["n_images"].to_list() == [row % 3 for row in range(COUNT)]
    assert data.items[schemas.ATTRIBUTES][7] == {"row": "7"}
    assert data.ids.row("i130") == 130


def test_covers_come_by_row_in_the_order_asked_for(data):
    rows = [COUNT - 1, 0, 1, 130, 1, 99, 100]
    assert data.covers(rows) == [cover(row) for row in rows]
    assert data.covers([]) == []


def test_covers_stream_in_batches_across_row_groups(data):
    batches = list(data.iter_covers(50))
    assert max(map(len, batches)) <= 50
    assert [image for batch in batches for image in batch] == [cover(row) for row in range(COUNT)]


def test_image_features_come_by_row_in_the_order_asked_for(data):
    rows = np.int32([COUNT - 8, 0, 1, 130, 1, 99, 100, 130])  # COUNT - 8 = 255 is a multiple of 5
    vectors, present = data.image_features(rows)
    assert present.tolist() == [True, True, False, True, False, False, True, True]
    assert vectors.dtype == np.float32
    expected = [[row / 8, -1, np.float16(0.1)] if row % 5 == 0 else [0, 0, 0] for row in rows]
    np.testing.assert_array_equal(vectors, np.float32(expected))
    assert data.feature_width == 3
    assert [array.shape for array in data.image_features([])] == [(0, 3), (0,)]
    with pytest.raises(IndexError, match=f"of {COUNT} items"):
        data.image_features([0, -1])
    with pytest.raises(IndexError):
        data.image_features([COUNT])


def test_the_vectors_of_a_whole_row_group_may_be_missing(tmp_path):
    with DatasetWriter(tmp_path) as writer:
        for row in range(3):
            vectors = {schemas.IMAGE_FEATURES: [1.0, 2.0]} if row == 1 else {}
            writer.write("items", [{schemas.ITEM_ID: f"i{row}", schemas.TITLE: "t"} | vectors])
    data = Dataset(tmp_path)
    vectors, present = data.image_features([2, 1, 0])
    assert vectors.tolist() == [[0, 0], [1, 2], [0, 0]]
    assert present.tolist() == [False, True, False]


def test_a_data_set_without_vectors_has_width_0(tmp_path):
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{schemas.ITEM_ID: "a", schemas.TITLE: "t"}])
    data = Dataset(tmp_path)
    vectors, present = data.image_features([0, 0])
    assert (data.feature_width, vectors.shape, present.tolist()) == (0, (2, 0), [False, False])


def test_pictures_stand_in_small_row_groups(data):
    metadata = pq.ParquetFile(data.path / "items.parquet").metadata
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= ITEMS_PER_GROUP


def test_every_table_exists_with_its_schema_even_when_empty(data):
    for name, schema in TABLES.items():
        assert pq.read_schema(data.path / f"{name}.parquet").equals(schema)
    assert data.users.shape == (0, len(schemas.USERS))
    assert data.queries.columns == schemas.QUERIES.names
    assert data.rejected.is_empty()
    assert not data.has_timestamps


def test_events_are_sorted_by_user_then_time_then_order(tmp_path):
    def event(user, item, second, order=None):
        timestamp = None if second is None else datetime(2024, 1, 1, 0, 0, second, tzinfo=UTC)
        return {
            schemas.USER_ID: user,
            schemas.ITEM_ID: item,
            schemas.EVENT_TYPE: "click",
            schemas.TIMESTAMP: timestamp,
            schemas.ORDER: order,
        }

    with DatasetWriter(tmp_path / "timed") as writer:
        rows = [event("v", "a", 5), event("u", "b", 9), event("u", "c", 3), event("u", "d", 9)]
        writer.write("events", rows)
    timed = Dataset(tmp_path / "timed")
    assert timed.events[schemas.ITEM_ID].to_list() == ["c", "b", "d", "a"]
    assert timed.has_timestamps
    with DatasetWriter(tmp_path / "ordered") as writer:
        rows = [event("u", "a", None, 2), event("u", "b", None, 10), event("u", "c", None, 1)]
        writer.write("events", pl.DataFrame(rows))
    ordered = Dataset(tmp_path / "ordered")
    assert ordered.events[schemas.ITEM_ID].to_list() == ["c", "a", "b"]
    assert not ordered.has_timestamps


def test_arrow_polars_and_plain_rows_write_the_same(tmp_path):
    rows = [{schemas.USER_ID: "u", schemas.ATTRIBUTES: {"age": "7"}}, {schemas.USER_ID: "v", schemas.ATTRIBUTES: None}]
    arrow = pa.Table.from_pylist(rows, pa.schema([schemas.USERS.field(name) for name in rows[0]]))
    for name, form in {"rows": rows, "arrow": arrow, "polars": pl.DataFrame(pl.from_arrow(arrow))}.items():
        with DatasetWriter(tmp_path / name) as writer:
            writer.write("users", form)
        users = Dataset(tmp_path / name).users
        assert users.rows() == [("u", None, {"age": "7"}), ("v", None, None)]
