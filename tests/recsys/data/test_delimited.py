import gzip

import pytest

from recsys import schemas
from recsys.data.delimited import Dialect, read_delimited
from recsys.exceptions import DataError


def read(file, dialect=None):
    batches = list(read_delimited(file, dialect or Dialect()))
    rows = [row for frame, _ in batches for row in frame.to_dicts()]
    malformed = [row for _, report in batches if report is not None for row in report.rows()]
    return rows, malformed


def test_quoted_line_breaks_byte_order_mark_and_empty_fields(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('\ufeffid,"te,xt"\n1,"two\nlines, and ""quotes"""\n2,\n', encoding="utf-8")
    rows, malformed = read(file)
    assert rows == [
        {"id": "1", "te,xt": 'two\nlines, and "quotes"', schemas.ROW: 0},
        {"id": "2", "te,xt": None, schemas.ROW: 1},
    ]
    assert malformed == []


def test_malformed_lines_are_reported_and_do_not_shift_the_row_numbers(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("a,b\nlost\n1,x\n1,2,3\nlost too\n2,y\n3\n")
    rows, malformed = read(file)
    assert [(row["a"], row[schemas.ROW]) for row in rows] == [("1", 1), ("2", 4)]
    assert malformed == [
        ("a.csv", 0, "malformed line", '{"line": "lost"}'),
        ("a.csv", 2, "malformed line", '{"line": "1,2,3"}'),
        ("a.csv", 3, "malformed line", '{"line": "lost too"}'),
        ("a.csv", 5, "malformed line", '{"line": "3"}'),
    ]


def test_row_numbers_hold_across_blocks_of_a_large_gzipped_file(tmp_path):
    file = tmp_path / "a.csv.gz"
    lines = [f"{number},{'x' * 100}" for number in range(400_000)]
    for bad in (7, 200_000, 399_999):
        lines[bad] = "broken"
    file.write_bytes(gzip.compress(("n,text\n" + "\n".join(lines)).encode(), compresslevel=1))
    good = bad_rows = 0
    frames = 0
    malformed = []
    for frame, report in read_delimited(file, Dialect()):
        frames += 1
        good += len(frame)
        bad_rows += (frame["n"].cast(int) != frame[schemas.ROW]).sum()
        malformed += [] if report is None else report[schemas.ROW].to_list()
    assert frames > 2
    assert (good, bad_rows, malformed) == (399_997, 0, [7, 200_000, 399_999])


def test_double_colons_latin_1_and_unbalanced_quotes(tmp_path):
    file = tmp_path / "movies.dat"
    file.write_bytes('1::Amélie: "x::A|B\n2::short\n'.encode("latin-1"))
    dialect = Dialect(delimiter="::", quote=None, encoding="latin-1", names=("id", "title", "genres", "absent"))
    rows, malformed = read(file, dialect)
    assert rows == [{"id": "1", "title": 'Amélie: "x', "genres": "A|B", schemas.ROW: 0}]
    assert malformed == [("movies.dat", 1, "malformed line", '{"line": "2::short"}')]


@pytest.mark.parametrize("content", [b"", "a,b\n1,é\n".encode("latin-1")])
def test_what_cannot_be_read_names_the_file(tmp_path, content):
    file = tmp_path / "odd.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.csv cannot be read"):
        read(file)
