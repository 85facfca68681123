import io
from datetime import UTC, datetime

import pytest
from PIL import Image

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest
from recsys.exceptions import DataError

TITLES = 'item,title\n1,"Cats, dogs and ""friends"" 猫"\n2,\n3,Only a title\n4,\n1,again\n'
PAIRS = "user,item,timestamp\n36121,3,1583378629552\n36121,1,1583378600000\n7,2,1662984066647\n7,99,1662984066648\n"
LISTS = "36121\t1 3\n7\t2 99 1\n"


def jpeg(shade):
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    (raw / "MicroLens-50k_covers").mkdir(parents=True)
    (raw / "MicroLens-50k_titles.csv").write_text(TITLES, encoding="utf-8")
    (raw / "MicroLens-50k_pairs.csv").write_text(PAIRS)
    (raw / "MicroLens-50k_pairs.tsv").write_text(LISTS)
    (raw / "MicroLens-50k_likes_and_views.txt").write_text("1\t10\t2000\n")
    for item in (1, 2):
        (raw / f"MicroLens-50k_covers/{item}.jpg").write_bytes(jpeg(item))
    return raw


def read(folder, target):
    assert detect(folder) == "microlens"
    summary = ingest(FORMATS["microlens"].read(folder), target, IngestConfig())
    return summary, Dataset(target)


def test_videos_with_titles_and_covers(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    assert data.items.select(schemas.ITEM_ID, schemas.TITLE, "n_images").rows() == [
        ("1", 'Cats, dogs and "friends" 猫', 1),
        ("2", None, 1),
        ("3", "Only a title", 0),
    ]
    assert data.covers([0, 1, 2]) == [jpeg(1), jpeg(2), None]


def test_comments_in_time(folder, tmp_path):
    summary, data = read(folder, tmp_path / "data")
    columns = [schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.TIMESTAMP]
    assert data.events.select(columns).rows() == [
        ("36121", "1", "comment", datetime(2020, 3, 5, 3, 23, 20, tzinfo=UTC)),
        ("36121", "3", "comment", datetime(2020, 3, 5, 3, 23, 49, 552_000, tzinfo=UTC)),
        ("7", "2", "comment", datetime(2022, 9, 12, 12, 1, 6, 647_000, tzinfo=UTC)),
    ]
    assert summary.rejected == {
        "items": {"no picture file": 2, "neither picture nor text": 1, "duplicate item_id": 1},
        "events": {"unknown item": 1},
    }


def test_lists_have_an_order_and_no_moments(folder, tmp_path):
    (folder / "MicroLens-50k_pairs.csv").unlink()
    _, data = read(folder, tmp_path / "data")
    assert data.events.select(schemas.USER_ID, schemas.ITEM_ID, schemas.ORDER, schemas.TIMESTAMP).rows() == [
        ("36121", "1", 0, None),
        ("36121", "3", 1, None),
        ("7", "2", 0, None),
        ("7", "1", 2, None),
    ]


def test_without_covers_the_titles_are_read_without_a_complaint_a_cover(folder, tmp_path):
    for cover in (folder / "MicroLens-50k_covers").iterdir():
        cover.unlink()
    (folder / "MicroLens-50k_covers").rmdir()
    summary, data = read(folder, tmp_path / "data")
    assert summary.rejected["items"] == {"neither picture nor text": 2, "duplicate item_id": 1}
    assert data.items["n_images"].to_list() == [0, 0]


def test_english_titles_where_there_are_no_others(folder, tmp_path):
    (folder / "MicroLens-50k_title_en.csv").write_text("item,title\n3,English\n")
    _, data = read(folder, tmp_path / "original")
    assert data.items[schemas.TITLE][-1] == "Only a title"
    (folder / "MicroLens-50k_titles.csv").unlink()
    _, data = read(folder, tmp_path / "english")
    assert data.items.select(schemas.ITEM_ID, schemas.TITLE).rows() == [("3", "English")]


def test_two_sets_in_one_folder(folder):
    (folder / "MicroLens-100k_titles.csv").write_text(TITLES, encoding="utf-8")
    with pytest.raises(DataError, match="MicroLens-100k, MicroLens-50k"):
        FORMATS["microlens"].read(folder)
