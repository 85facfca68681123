from datetime import UTC, datetime

import pytest

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest

CATEGORIES = ",".join(
    f"{level}_level_category_{part}"
    for level in ("first", "second", "third", "fourth")
    for part in ("id", "name", "name_en")
)
ITEMS = (
    f"item_id,caption,author_id,item_type,upload_time,upload_type,{CATEGORIES}\n"
    '1,"[12, 7, 12]",90,NORMAL,2023-05-22,LongImport,8,音乐,Music,80,流行,Pop,0,空,empty,0,空,empty\n'
    "2,[],91,NORMAL,2023-05-23 10:00:00,ShortImport,9,游戏,Games,,,,,,,,,\n"
    "3,[],92,AD,2023-05-22,Web,0,空,empty,,,,,,,,,\n"
    '4,"[99]",0,NORMAL,1970-1-1,Web,7,美食,Food,,,,,,,,,\n'
    '1,"[5]",90,NORMAL,2023-05-22,Web,8,音乐,Music,,,,,,,,,\n'
)
REC_COLUMNS = (
    "user_id,item_id,playing_time,duration_ms,time,timestamp,click,forward,like,follow,search,search_item_related"
)
RECOMMENDED = (
    "5,1,2500,10000,2023-05-22 08:00:00,1684713600123,1,1,0,1,0,0\n"
    "5,2,0,10000,2023-05-22 08:00:01,1684713601123,0,0,0,0,1,0\n"
    "6,77,900,10000,2023-05-22 08:00:02,1684713602123,1,0,1,0,0,0\n"
)
SRC_COLUMNS = (
    "user_id,search_session_id,search_session_time,search_session_timestamp,"
    "keyword,search_source,item_id,click_cnt,item_type"
)
SEARCHED = (
    '5,31,2023-05-22 09:00:00,1684717200000,"[44, 3]",USER_INPUT,2,2,VIDEO\n'
    '5,31,2023-05-22 09:00:00,1684717200000,"[44, 3]",USER_INPUT,1,0,VIDEO\n'
    '6,32,2023-05-22 09:00:01,1684717201000,"[9]",GUESS,500,1,USER\n'
)
USERS = "user_id,search_active_level,rec_active_level,onehot_feat1,onehot_feat2\n5,3,7,0,11\n6,1,2,4,5\n"


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "item_features.csv").write_text(ITEMS, encoding="utf-8")
    (raw / "user_features.csv").write_text(USERS)
    (raw / "rec_inter.csv").write_text(f"{REC_COLUMNS}\n{RECOMMENDED}")
    (raw / "src_inter.csv").write_text(f"{SRC_COLUMNS}\n{SEARCHED}")
    (raw / "social_network.csv").write_text('user_id,user_follow_id\n5,"[6]"\n')
    return raw


def read(folder, target):
    assert detect(folder) == "kuaisar"
    summary = ingest(FORMATS["kuaisar"].read(folder), target, IngestConfig())
    return summary, Dataset(target)


def events(data):
    columns = [schemas.USER_ID, schemas.ITEM_ID, schemas.SCENE, schemas.REQUEST_ID, schemas.QUERY]
    return data.events.select(*columns, schemas.EVENT_TYPE, schemas.VALUE, schemas.TIMESTAMP).rows()


def test_items_by_their_captions_or_else_their_categories(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    columns = [schemas.ITEM_ID, schemas.TEXT, schemas.AUTHOR_ID, schemas.TAGS, schemas.CATEGORY, schemas.CREATED_AT]
    assert data.items.select(columns).rows() == [
        ("1", "12 7 12", "90", ["Music", "Pop"], "Music", datetime(2023, 5, 21, 16, tzinfo=UTC)),
        ("2", "Games", "91", ["Games"], "Games", datetime(2023, 5, 23, 2, tzinfo=UTC)),
        ("4", "99", None, ["Food"], "Food", None),
    ]
    assert data.items[schemas.ATTRIBUTES][0] == {"item_type": "NORMAL", "upload_type": "LongImport"}


def test_users(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    assert data.users.select(schemas.USER_ID, schemas.ATTRIBUTES).row(1) == (
        "6",
        {"search_active_level": "1", "rec_active_level": "2", "onehot_feat1": "4", "onehot_feat2": "5"},
    )


def test_recommendations_and_searches(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    first = datetime(2023, 5, 22, 0, 0, 0, 123_000, tzinfo=UTC)
    search = datetime(2023, 5, 22, 1, tzinfo=UTC)
    assert events(data) == [
        ("5", "1", "feed", None, None, "impression", None, first),
        ("5", "1", "feed", None, None, "click", None, first),
        ("5", "1", "feed", None, None, "share", None, first),
        ("5", "1", "feed", None, None, "follow", None, first),
        ("5", "1", "feed", None, None, "dwell", 2.5, first),
        ("5", "2", "feed", None, None, "impression", None, first.replace(second=1)),
        ("5", "2", "search", "search/31", "44 3", "impression", None, search),
        ("5", "2", "search", "search/31", "44 3", "click", None, search),
        ("5", "1", "search", "search/31", "44 3", "impression", None, search),
    ]


def test_what_cannot_be_used(folder, tmp_path):
    summary, _ = read(folder, tmp_path / "data")
    assert summary.rejected == {
        "items": {"neither picture nor text": 1, "duplicate item_id": 1},
        "events": {"unknown item": 6},  # an impression, a click, a like and a dwell; an impression and a click
    }


def test_the_spellings_of_the_download(folder, tmp_path):
    _, published = read(folder, tmp_path / "published")
    renamed = REC_COLUMNS.replace("search_item_related", "search_photo_related")
    (folder / "rec_inter.csv").write_text(f"{renamed}\n{RECOMMENDED}")
    renamed = SRC_COLUMNS.replace("search_source", "search_session_source").replace("search_session_time,", "time,")
    (folder / "src_inter.csv").write_text(f"{renamed}\n{SEARCHED}")
    _, downloaded = read(folder, tmp_path / "downloaded")
    assert events(downloaded) == events(published)


def test_without_searches_and_users(folder, tmp_path):
    (folder / "src_inter.csv").unlink()
    (folder / "user_features.csv").unlink()
    _, data = read(folder, tmp_path / "data")
    assert data.events[schemas.SCENE].unique().to_list() == ["feed"]
    assert data.users.is_empty()
