from datetime import UTC, datetime, timedelta

import pytest

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.formats.mind import HISTORY_ENDS
from recsys.data.ingest import IngestConfig, ingest

ENTITY = '[{"Label": "PGA Tour", "Type": "O", "WikidataId": "Q910409", "SurfaceForms": ["PGA \\"Tour\\""]}]'
NEWS = (
    f'N1\tsports\tgolf\tA "quoted title\tAn abstract\thttps://a\t{ENTITY}\t[]\n'
    "N2\tnews\tnewsworld\tZürich, 東京\t\thttps://b\t[{broken\t[]\n"
    "N3\tlifestyle\tlifestyle\tNo abstract entities\t\thttps://c\t[]\t\n"
    "N4\tautos\n"
)
TRAIN = (
    "1\tU1\t11/11/2019 9:05:58 AM\tN3 N1\tN1-1 N2-0\n"
    "2\tU1\t11/12/2019 12:00:00 PM\tN3 N1\tN3-0\n"
    "3\tU2\t11/13/2019 12:30:00 AM\t\tN2-1 N9-0\n"
    "4\tU3\tyesterday\tN2\tN1-0\n"
)
TEST = "1\tU4\t11/15/2019 1:00:00 PM\tN2\tN1 N2\n"
NINE = datetime(2019, 11, 11, 9, 5, 58, tzinfo=UTC)


def write(folder, news, behaviours):
    folder.mkdir(parents=True)
    (folder / "news.tsv").write_text(news, encoding="utf-8")
    (folder / "behaviors.tsv").write_text(behaviours, encoding="utf-8")


def read(folder, target):
    assert detect(folder) == "mind"
    summary = ingest(FORMATS["mind"].read(folder), target, IngestConfig())
    return summary, Dataset(target)


@pytest.fixture
def train(tmp_path):
    write(tmp_path / "raw", NEWS, TRAIN)
    return read(tmp_path / "raw", tmp_path / "data")


def test_news_with_entities_from_nested_json(train):
    _, data = train
    columns = [schemas.ITEM_ID, schemas.TITLE, schemas.TEXT, schemas.CATEGORY, schemas.TAGS]
    assert data.items.select(columns).rows() == [
        ("N1", 'A "quoted title', "An abstract", "sports", ["golf", "PGA Tour"]),
        ("N2", "Zürich, 東京", None, "news", ["newsworld"]),
        ("N3", "No abstract entities", None, "lifestyle", ["lifestyle"]),
    ]
    assert data.items[schemas.ATTRIBUTES][0] == {"subcategory": "golf", "url": "https://a"}


def test_impressions_clicks_and_what_was_clicked_before_the_log(train):
    _, data = train
    columns = [schemas.REQUEST_ID, schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.TIMESTAMP]
    noon = datetime(2019, 11, 12, 12, tzinfo=UTC)
    night = datetime(2019, 11, 13, 0, 30, tzinfo=UTC)
    assert data.events.select(columns).rows() == [
        (None, "U1", "N3", "click", HISTORY_ENDS - timedelta(seconds=2)),
        (None, "U1", "N1", "click", HISTORY_ENDS - timedelta(seconds=1)),
        ("1", "U1", "N1", "impression", NINE),
        ("1", "U1", "N1", "click", NINE),
        ("1", "U1", "N2", "impression", NINE),
        ("2", "U1", "N3", "impression", noon),
        ("3", "U2", "N2", "impression", night),
        ("3", "U2", "N2", "click", night),
        (None, "U3", "N2", "click", HISTORY_ENDS - timedelta(seconds=1)),
    ]
    assert data.events[schemas.POSITION].null_count() == len(data.events)
    assert data.events[schemas.SCENE].unique().to_list() == ["feed"]


def test_what_cannot_be_used(train):
    _, data = train
    assert data.rejected.select(schemas.FILE, schemas.ROW, schemas.REASON).rows() == [
        ("news.tsv", 3, "malformed line"),
        ("behaviors.tsv", 2, "unknown item"),
        ("behaviors.tsv", 3, "neither timestamp nor order"),
    ]


def test_several_parts_share_their_news_and_a_test_part_has_no_clicks(tmp_path):
    raw = tmp_path / "raw"
    write(raw / "MINDsmall_test", NEWS, TEST)
    write(raw / "MINDsmall_train", NEWS, TRAIN)
    summary, data = read(raw, tmp_path / "data")
    assert summary.rejected["items"] == {"malformed line": 2, "duplicate item_id": 3}
    tested = data.events.filter(data.events[schemas.USER_ID] == "U4")
    assert tested.select(schemas.REQUEST_ID, schemas.ITEM_ID, schemas.EVENT_TYPE).rows() == [
        (None, "N2", "click"),
        ("MINDsmall_test/1", "N1", "impression"),
        ("MINDsmall_test/1", "N2", "impression"),
    ]
    assert "MINDsmall_train/1" in data.events[schemas.REQUEST_ID].to_list()


def test_reading_twice_gives_the_histories_twice(tmp_path):
    write(tmp_path / "raw", NEWS, TRAIN)
    reader = FORMATS["mind"].read(tmp_path / "raw")
    first, second = ([batch.rows for batch in reader.batches()] for _ in range(2))
    assert [rows.rows() for rows in first] == [rows.rows() for rows in second]
