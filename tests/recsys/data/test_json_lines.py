import gzip
import tomllib

import pytest

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.ingest import IngestConfig, ingest
from recsys.data.json_lines import read_json_lines
from recsys.data.mapped import MappedReader
from recsys.data.mapping import Mapping
from recsys.exceptions import DataError

LINES = (
    '\ufeff{"id": 7, "name": "té", "price": 3.50, "tags": ["a", "b"], "more": {"k": [1]}}\n'
    "\n"
    "{broken\n"
    "[1, 2]\n"
    '{"id": "8", "name": "", "price": null, "tags": null, "good": true}\n'
    '{"id": "9", "tags": "c"}\n'
)


def test_every_value_is_text_and_lines_that_are_no_object_are_reported(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(LINES, encoding="utf-8")
    ((rows, malformed),) = read_json_lines(file, 100)
    assert rows.select("id", "name", "price", "tags", "more", "good", schemas.ROW).rows() == [
        ("7", "té", "3.5", ["a", "b"], '{"k": [1]}', None, 0),
        ("8", None, None, None, None, "true", 4),
        ("9", None, None, ["c"], None, None, 5),
    ]
    assert malformed is not None
    assert malformed.rows() == [
        ("a.jsonl", 2, "malformed line", '{"line": "{broken"}'),
        ("a.jsonl", 3, "malformed line", '{"line": "[1, 2]"}'),
    ]


def test_batches_of_a_gzipped_file_count_their_rows_through(tmp_path):
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(b"".join(b'{"id": %d}\n' % number for number in range(7))))
    batches = [rows for rows, _ in read_json_lines(file, 3)]
    assert [len(rows) for rows in batches] == [3, 3, 1]
    assert [row for rows in batches for row in rows[schemas.ROW]] == list(range(7))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", b'{"id": "\xff"}\n'), ("a.jsonl.gz", b'{"id": 1}\n')])
def test_another_encoding_or_no_gzip(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        list(read_json_lines(tmp_path / name, 3))


def test_a_mapping_reads_them_and_an_object_may_lack_a_key(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.jsonl").write_text('{"id": 1, "tags": ["x"]}\n{"id": 2, "name": "two"}\n')
    text = '[items]\nfiles = "a.jsonl"\ncolumns = { item_id = "id", title = "name", tags = "tags", author_id = "by" }\n'
    reader = MappedReader(tmp_path / "raw", Mapping.model_validate(tomllib.loads(text)))
    summary = ingest(reader, tmp_path / "data", IngestConfig())
    assert summary.rejected == {"items": {"neither picture nor text": 1}}
    assert Dataset(tmp_path / "data").items.select(schemas.ITEM_ID, schemas.TITLE, schemas.TAGS).rows() == [
        ("2", "two", [])
    ]
