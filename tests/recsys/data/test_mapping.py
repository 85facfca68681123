import os
import tomllib
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from recsys import schemas
from recsys.data import mapping as mapping_module
from recsys.data.mapped import MappedReader
from recsys.data.mapping import ColumnPart, Mapping
from recsys.data.reader import ITEMS_PER_BATCH, fingerprint, id_text, resolve
from recsys.exceptions import ConfigError, DataError

SHIPPED = sorted((Path(__file__).resolve().parents[3] / "pipelines/configs/datasets").glob("*.toml"))
MINIMAL = '[items]\nfiles = "items.csv"\ncolumns.item_id = "id"\n'


def mapping(text):
    return Mapping.model_validate(tomllib.loads(text))


def rows_of(folder, text, table):
    batches = MappedReader(folder, mapping(text)).batches()
    return [row for batch in batches if batch.table == table for row in batch.rows.to_dicts()]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_mappings_are_valid(file):
    assert mapping(file.read_text(encoding="utf-8")).items[0].columns[schemas.ITEM_ID] in {
        ("item_id",),
        ("image_id",),
        ("note_id",),
    }


def test_the_example_of_the_docstring_is_a_mapping():
    example = mapping_module.__doc__.split(".. code-block:: toml")[1].split("A key that")[0]
    parsed = mapping("\n".join(line[4:] for line in example.splitlines()))
    assert parsed.items[0].columns["text"] == ("intro", "body")
    assert parsed.events[0].time_format == "s"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (MINIMAL.replace("files", "file"), "Extra inputs are not permitted"),
        (MINIMAL + 'columns.titel = "t"', "items have no column 'titel'"),
        (MINIMAL + 'constants.item_id = "x"', "'item_id' is both a column and a constant"),
        (MINIMAL + 'values.tiltle = { a = "b" }', "items have no column 'tiltle'"),
        ('[items]\nfiles = "a"\ncolumns.title = "t"', "items need item_id"),
        (
            MINIMAL
            + '[[events]]\nfiles = "e"\ncolumns = { user_id = "u", item_id = "i" }\nconstants.event_type = "click"',
            "events need a timestamp",
        ),
        (
            MINIMAL + 'columns.images = "i"\n[items.images]\nfiles = "p"\nkey = "k"\nimage = "i"',
            "images come from .*, not from both",
        ),
        (
            MINIMAL + 'columns.image_features = "i"\n[items.image_features]\nfiles = "p"\nkey = "k"\nvector = "i"',
            "image_features come from .*, not from both",
        ),
    ],
)
def test_a_mistake_in_a_mapping_is_an_error_that_names_it(text, fault):
    with pytest.raises(ValidationError, match=fault):
        mapping(text)


def test_references_to_parts_of_lists():
    assert ColumnPart.parse("genres") == ColumnPart("genres")
    assert ColumnPart.parse("genres[2]") == ColumnPart("genres", element=2)
    assert ColumnPart.parse("genres[1:]") == ColumnPart("genres", elements_from=1)


def test_columns_constants_delimiters_values_and_missing(tmp_path):
    (tmp_path / "items.csv").write_text(
        "id,head,intro,body,kinds,colour,kind,year\n1,T,in,bo,a|b|c,red,x,1999\n2,nan,,bo,,blue,y,nan\n"
    )
    text = (
        MINIMAL
        + """
        columns.title = "head"
        columns.text = ["intro", "body"]
        columns.tags = ["kinds", "colour"]
        columns.category = "kinds[1]"
        columns.author_id = "kind"
        constants = { language = "en" }
        delimiters.kinds = "|"
        values.author_id = { x = "anna" }
        missing = ["nan"]
        attributes = ["year", "colour"]
    """
    )
    assert rows_of(tmp_path, text, "items") == [
        {
            schemas.ROW: 0,
            schemas.ITEM_ID: "1",
            schemas.TITLE: "T",
            schemas.TEXT: "in\nbo",
            schemas.TAGS: ["a", "b", "c", "red"],
            schemas.CATEGORY: "b",
            schemas.AUTHOR_ID: "anna",
            schemas.LANGUAGE: "en",
            schemas.ATTRIBUTES: {"year": "1999", "colour": "red"},
        },
        {
            schemas.ROW: 1,
            schemas.ITEM_ID: "2",
            schemas.TITLE: "",  # no text at all: validation makes it null
            schemas.TEXT: "bo",
            schemas.TAGS: ["blue"],
            schemas.CATEGORY: None,
            schemas.AUTHOR_ID: "y",
            schemas.LANGUAGE: "en",
            schemas.ATTRIBUTES: {"colour": "blue"},
        },
    ]


def test_lists_of_captions_become_queries_with_ids_of_their_own(tmp_path):
    pl.DataFrame({"id": [5, 6, 7], "captions": [["a", "b", "c"], ["d"], None]}).write_parquet(tmp_path / "q.parquet")
    text = (
        MINIMAL.replace("items.csv", "q.parquet")
        + """
        columns.text = "captions[0]"
        [queries]
        files = "q.parquet"
        columns = { item_id = "id", query = "captions[1:]" }
        constants.grade = 3
    """
    )
    assert [row[schemas.TEXT] for row in rows_of(tmp_path, text, "items")] == ["a", "d", ""]
    assert rows_of(tmp_path, text, "queries") == [
        {schemas.ROW: 0, schemas.ITEM_ID: 5, schemas.QUERY: "b", schemas.GRADE: 3, schemas.QUERY_ID: "5#captions[1]"},
        {schemas.ROW: 0, schemas.ITEM_ID: 5, schemas.QUERY: "c", schemas.GRADE: 3, schemas.QUERY_ID: "5#captions[2]"},
    ]


def test_a_query_without_id_is_known_by_its_text(tmp_path):
    pl.DataFrame({"id": [5, 6], "q": ["tea", "tea"]}).write_parquet(tmp_path / "q.parquet")
    text = MINIMAL + '[queries]\nfiles = "q.parquet"\ncolumns = { item_id = "id", query = "q" }\nconstants.grade = 1'
    (tmp_path / "items.csv").write_text("id\n5\n6\n")
    assert [row[schemas.QUERY_ID] for row in rows_of(tmp_path, text, "queries")] == ["tea", "tea"]


def test_several_files_and_globs_keep_name_and_row_of_each(tmp_path):
    for name, ids in {"b-2.parquet": [3], "b-1.parquet": [1, 2], "a.parquet": [9]}.items():
        pl.DataFrame({"id": ids}).write_parquet(tmp_path / name)
    reader = MappedReader(tmp_path, mapping(MINIMAL.replace('"items.csv"', '["b-*.parquet", "a.parquet"]')))
    found = [
        (batch.file, row[schemas.ROW], row[schemas.ITEM_ID])
        for batch in reader.batches()
        for row in batch.rows.to_dicts()
    ]
    assert found == [("b-1.parquet", 0, 1), ("b-1.parquet", 1, 2), ("b-2.parquet", 0, 3), ("a.parquet", 0, 9)]
    assert [file.name for file in reader.files()] == ["b-1.parquet", "b-2.parquet", "a.parquet"]


def test_item_batches_are_small_and_numbered_through(tmp_path):
    (tmp_path / "items.csv").write_text("id\n" + "\n".join(map(str, range(300))))
    frames = [batch.rows for batch in MappedReader(tmp_path, mapping(MINIMAL)).batches()]
    assert [len(frame) for frame in frames] == [ITEMS_PER_BATCH, ITEMS_PER_BATCH, 300 - 2 * ITEMS_PER_BATCH]
    assert pl.concat(frames)[schemas.ROW].to_list() == list(range(300))


@pytest.mark.parametrize(
    ("line", "error", "fault"),
    [
        ('columns.title = "no such"', DataError, "has no column 'no such'; it has id, tags, name"),
        ('columns.tags = "tags"\nvalues.tags = { a = "b" }', DataError, r"i\.parquet does not fit its mapping: "),
        ('columns.category = "tags"', ConfigError, r"Choose an element: 'tags\[0\]'"),
        ('columns.category = "name[0]"', ConfigError, r"delimiters\.name"),
        ('columns.category = ["name", "id"]', ConfigError, "takes one column"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file(tmp_path, line, error, fault):
    pl.DataFrame({"id": [1], "tags": [["a"]], "name": ["n"]}).write_parquet(tmp_path / "i.parquet")
    with pytest.raises(error, match=fault):
        rows_of(tmp_path, MINIMAL.replace("items.csv", "i.parquet") + line, "items")


def test_a_name_finds_its_gzipped_file_and_a_missing_one_says_what_is_there(tmp_path):
    (tmp_path / "u.data.gz").write_bytes(b"")
    assert resolve(tmp_path, "u.data") == [tmp_path / "u.data.gz"]
    with pytest.raises(DataError, match=r"'u.item'.*holds: u\.data\.gz"):
        resolve(tmp_path, "u.item")


def test_ids_that_pandas_made_floats_are_integers_again():
    assert id_text(pl.Series([1.0, 2.5, float("nan"), None, 1e6])).to_list() == ["1", "2.5", None, None, "1000000"]
    assert id_text(pl.Series([" a ", "", None])).to_list() == ["a", None, None]


def test_the_fingerprint_follows_name_size_and_time(tmp_path):
    file, other = tmp_path / "a.csv", tmp_path / "b.csv"
    file.write_text("one")
    other.write_text("two")
    first = fingerprint(tmp_path, [file, other])
    assert fingerprint(tmp_path, [other, file]) == first
    assert fingerprint(tmp_path, [file]) != first
    stat = file.stat()
    file.write_text("one more")
    changed = fingerprint(tmp_path, [file, other])
    assert changed != first
    file.write_text("one")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(tmp_path, [file, other]) == first
