import gzip
import json
from datetime import UTC, datetime

import pytest

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest
from recsys.exceptions import DataError

BASE = {
    "main_category": "All Beauty",
    "title": "Howard LC0008 Leather Conditioner",
    "average_rating": 4.8,
    "rating_number": 10,
    "features": ["Restores gloss", "Cleans"],
    "description": [],
    "price": 12.99,
    "images": [
        {"thumb": "http://t1", "large": "http://l1", "hi_res": "http://h1", "variant": "PT01"},
        {"thumb": "http://t2", "large": "http://l2", "hi_res": None, "variant": "MAIN"},
    ],
    "videos": [],
    "store": "Howard Products",
    "categories": ["Beauty & Personal Care", "Hair"],
    "details": {"Brand": "Howard", "Best Sellers Rank": {"Beauty": 3}},
    "parent_asin": "B01",
    "bought_together": None,
}
PLAIN = {"title": "Plain 東京", "price": "None", "images": [], "features": [], "categories": [], "parent_asin": "B02"}
UNTITLED = {"title": "", "features": [], "description": [], "parent_asin": "B03", "price": None}
REVIEW = {
    "rating": 5.0,
    "title": "Such a lovely scent",
    "text": "broken\nlines",
    "images": [{"small_image_url": "http://s", "attachment_type": "IMAGE"}],
    "asin": "B01X",
    "parent_asin": "B01",
    "user_id": "AG",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}


def lines(*rows):
    return "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "meta_All_Beauty.jsonl").write_text(lines(BASE, PLAIN, UNTITLED, {**BASE, "title": "again"}))
    other = {**REVIEW, "parent_asin": "B02", "rating": 2.0, "timestamp": 1588687729000}
    text = lines(REVIEW, other, '{"rating": 1.0, "par\n', {**REVIEW, "parent_asin": "B99"}, {"parent_asin": "B01"})
    (raw / "All_Beauty.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return raw


def read(folder, target):
    assert detect(folder) == "amazon-2023"
    summary = ingest(FORMATS["amazon-2023"].read(folder), target, IngestConfig())
    return summary, Dataset(target)


def test_products_with_nested_pictures_and_prices_of_several_kinds(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    columns = [schemas.ITEM_ID, schemas.TITLE, schemas.TEXT, schemas.TAGS, schemas.CATEGORY, schemas.AUTHOR_ID]
    assert data.items.select(columns).rows() == [
        (
            "B01",
            "Howard LC0008 Leather Conditioner",
            "Restores gloss\nCleans",
            ["Beauty & Personal Care", "Hair"],
            "All Beauty",
            "Howard Products",
        ),
        ("B02", "Plain 東京", None, [], None, None),
    ]
    assert data.items[schemas.ATTRIBUTES].to_list() == [{"price": "12.99", "image_url": "http://l2"}, {}]


def test_reviews_are_rated_clicks(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    columns = [schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.VALUE, schemas.TIMESTAMP]
    moment = datetime(2020, 5, 5, 14, 8, 48, 923_000, tzinfo=UTC)
    assert data.events.select(columns).rows() == [
        ("AG", "B01", "click", 5.0, moment),
        ("AG", "B02", "click", 2.0, datetime(2020, 5, 5, 14, 8, 49, tzinfo=UTC)),
    ]


def test_what_cannot_be_used(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    assert sorted(data.rejected.select(schemas.FILE, schemas.ROW, schemas.REASON).rows()) == [
        ("All_Beauty.jsonl.gz", 2, "malformed line"),
        ("All_Beauty.jsonl.gz", 3, "unknown item"),
        ("All_Beauty.jsonl.gz", 4, "empty user_id"),
        ("meta_All_Beauty.jsonl", 2, "neither picture nor text"),
        ("meta_All_Beauty.jsonl", 3, "duplicate item_id"),
    ]


@pytest.mark.parametrize("history", [False, True])
def test_five_core_files_where_there_are_no_reviews_also_split_and_with_histories(folder, tmp_path, history):
    (folder / "All_Beauty.jsonl.gz").unlink()
    header, more = ("user_id,parent_asin,rating,timestamp", "")
    if history:
        header, more = f"{header},history", ",B02 B01"
    (folder / "All_Beauty.train.csv").write_text(f"{header}\nAG,B01,5.0,1588687728923{more}\n")
    (folder / "All_Beauty.test.csv").write_text(f"{header}\nAG,B02,1.0,1588687729000{more}\n")
    _, data = read(folder, tmp_path / "data")
    assert data.events.select(schemas.USER_ID, schemas.ITEM_ID, schemas.VALUE).rows() == [
        ("AG", "B01", 5.0),
        ("AG", "B02", 1.0),
    ]


def test_reviews_come_before_five_core_files(folder, tmp_path):
    (folder / "All_Beauty.csv").write_text("user_id,parent_asin,rating,timestamp\nZZ,B01,5.0,1588687728923\n")
    _, data = read(folder, tmp_path / "data")
    assert data.events[schemas.USER_ID].unique().to_list() == ["AG"]


def test_products_alone(folder):
    (folder / "All_Beauty.jsonl.gz").unlink()
    with pytest.raises(DataError, match="no reviews"):
        FORMATS["amazon-2023"].read(folder)
