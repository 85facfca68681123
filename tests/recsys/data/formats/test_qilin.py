import io
import math
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest
from recsys.exceptions import DataError

NOW = datetime(2025, 6, 1, tzinfo=UTC)
MORNING = datetime(2024, 11, 27, 0, 0, 5, tzinfo=UTC)
SECONDS = int(MORNING.timestamp())
ACTIONS = ("click", "like", "collect", "comment", "share")


def jpeg(shade):
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).save(stream, "JPEG")
    return stream.getvalue()


def table(folder, rows, part="00000-of-00001"):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"train-{part}.parquet")


def note(number, **values):
    return {
        "note_idx": number,
        "note_title": f"标题{number}",
        "note_content": f"正文{number}",
        "note_type": 1,
        "video_duration": math.nan,
        "image_num": 1.0,
        "content_length": 3,
        "commercial_flag": 0,
        "taxonomy1_id": "美食",
        "taxonomy2_id": "nan",
        "taxonomy3_id": "None",
        "imp_num": 12,
        "click_num": 3,
        "image_path": [],
    } | values


def exposure(number, position, moment, name, page_time=math.nan, **actions):
    done = {action: actions.get(action, 0) for action in ACTIONS}
    return {"note_idx": number, "position": position, **done, "page_time": page_time, name: moment}


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "Qilin"
    table(raw / "notes", [note(0, image_path=["image/part_0/a.jpg", "image/part_0/b.jpg"]), note(1)], "00000-of-00002")
    table(
        raw / "notes",
        [
            note(2, note_title="None", note_content="nan", image_path=["image/part_0/gone.jpg"]),
            note(1, note_title="again"),
            note(3, note_title="nan", image_path=None),
        ],
        "00001-of-00002",
    )
    (raw / "image/part_0").mkdir(parents=True)
    (raw / "image/part_0/a.jpg").write_bytes(jpeg(10))
    (raw / "image/part_0/b.jpg").write_bytes(jpeg(20))
    dense = {f"dense_feat{number}": number / 2 for number in range(1, 41)}
    user = {"user_idx": 7, "gender": "female", "platform": "iOS", "age": "23-25", "location": "None"}
    table(raw / "user_feat", [{**user, "fans_num": 12.0, "follows_num": math.nan, **dense}])
    request = {"session_idx": 0, "user_idx": 7, "recent_clicked_note_idxs": [3, 1]}
    feed = "request_timestamp"
    table(
        raw / "recommendation_train",
        [
            {
                **request,
                "request_idx": 0,
                "query": "nan",
                "rec_result_details_with_idx": [
                    exposure(0, 1, SECONDS, feed, 12.5, click=1, like=1, share=1),
                    exposure(1, 2, SECONDS, feed, -3.0),
                    exposure(99, 3, SECONDS, feed),
                ],
            },
            {**request, "request_idx": 1, "query": None, "rec_result_details_with_idx": []},
        ],
    )
    search = "search_timestamp"
    table(
        raw / "search_test",
        [
            {
                **request,
                "search_idx": 0,
                "query": "川菜 做法",
                "query_from_type": 2,
                "bm25_results": [[0.0, 3.2]],
                "search_results": [1, 0],
                "search_result_details_with_idx": [
                    exposure(1, 1, 1000 * SECONDS + 250, search),
                    exposure(0, 2, 1000 * SECONDS + 250, search, 4.0, click=1, collect=1),
                    exposure(1, 3, 1000 * SECONDS + 250, search, click=1),
                ],
            },
        ],
    )
    return raw


def read(folder, target):
    assert detect(folder) == "qilin"
    summary = ingest(FORMATS["qilin"].read(folder), target, IngestConfig(), NOW)
    return summary, Dataset(target)


def test_notes_with_pictures_and_two_ways_to_say_missing(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    columns = [schemas.ITEM_ID, schemas.TITLE, schemas.TEXT, schemas.TAGS, schemas.CATEGORY, schemas.LANGUAGE]
    assert data.items.select(*columns, "n_images").rows() == [
        ("0", "标题0", "正文0", ["美食"], "美食", "zh", 2),
        ("1", "标题1", "正文1", ["美食"], "美食", "zh", 0),
        ("3", None, "正文3", ["美食"], "美食", "zh", 0),
    ]
    assert data.covers([0]) == [jpeg(10)]
    assert data.items[schemas.ATTRIBUTES][0] == {
        "note_type": "1",
        "commercial_flag": "0",
        "image_num": "1.0",
        "content_length": "3",
    }


def test_what_cannot_be_used_is_set_aside_with_table_and_reason(folder, tmp_path):
    summary, data = read(folder, tmp_path / "data")
    assert data.rejected.select(schemas.FILE, schemas.ROW, schemas.REASON).rows() == [
        ("notes/train-00001-of-00002.parquet", 0, "no picture file"),
        ("notes/train-00001-of-00002.parquet", 0, "neither picture nor text"),
        ("notes/train-00001-of-00002.parquet", 1, "duplicate item_id"),
        ("recommendation_train/train-00000-of-00001.parquet", 0, "unknown item"),
        ("recommendation_train/train-00000-of-00001.parquet", 1, "empty item_id"),
    ]
    assert summary.kept == {"items": 3, "users": 1, "events": 13, "queries": 2}


def test_users_keep_their_features_and_lose_what_is_missing(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    attributes = data.users.row(0, named=True)[schemas.ATTRIBUTES]
    assert data.users[schemas.USER_ID].to_list() == ["7"]
    assert {name: attributes[name] for name in ("gender", "platform", "age", "fans_num", "dense_feat40")} == {
        "gender": "female",
        "platform": "iOS",
        "age": "23-25",
        "fans_num": "12.0",
        "dense_feat40": "20.0",
    }
    assert not {"location", "follows_num"} & attributes.keys()


def test_exposures_become_impressions_and_what_came_of_them(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    columns = [schemas.REQUEST_ID, schemas.ITEM_ID, schemas.SCENE, schemas.QUERY, schemas.POSITION]
    columns += [schemas.EVENT_TYPE, schemas.VALUE]
    assert data.events.select(columns).rows() == [
        ("recommendation_train/0", "0", "feed", None, 1, "impression", None),
        ("recommendation_train/0", "0", "feed", None, 1, "click", None),
        ("recommendation_train/0", "0", "feed", None, 1, "like", None),
        ("recommendation_train/0", "0", "feed", None, 1, "share", None),
        ("recommendation_train/0", "0", "feed", None, 1, "dwell", 12.5),
        ("recommendation_train/0", "1", "feed", None, 2, "impression", None),
        ("search_test/0", "1", "search", "川菜 做法", 1, "impression", None),
        ("search_test/0", "0", "search", "川菜 做法", 2, "impression", None),
        ("search_test/0", "0", "search", "川菜 做法", 2, "click", None),
        ("search_test/0", "0", "search", "川菜 做法", 2, "collect", None),
        ("search_test/0", "0", "search", "川菜 做法", 2, "dwell", 4.0),
        ("search_test/0", "1", "search", "川菜 做法", 3, "impression", None),
        ("search_test/0", "1", "search", "川菜 做法", 3, "click", None),
    ]
    assert data.events[schemas.TIMESTAMP].unique().sort().to_list() == [MORNING, MORNING.replace(microsecond=250_000)]


def test_a_note_shown_twice_is_judged_once_by_its_click(folder, tmp_path):
    _, data = read(folder, tmp_path / "data")
    assert data.queries.select(schemas.QUERY_ID, schemas.QUERY, schemas.ITEM_ID, schemas.GRADE).rows() == [
        ("search_test/0", "川菜 做法", "1", 1),
        ("search_test/0", "川菜 做法", "0", 1),
    ]


def test_without_its_pictures_the_set_is_read_without_a_complaint_a_picture(folder, tmp_path):
    for picture in (folder / "image/part_0").iterdir():
        picture.unlink()
    (folder / "image/part_0").rmdir()
    (folder / "image").rmdir()
    summary, data = read(folder, tmp_path / "data")
    assert data.items["n_images"].sum() == 0
    assert "no picture file" not in summary.rejected["items"]


def test_no_table_of_requests(folder):
    for name in ("recommendation_train", "search_test"):
        (folder / name).rename(folder / f"{name}.old")
    with pytest.raises(DataError, match="recommendation_train, recommendation_test, search_train, search_test"):
        FORMATS["qilin"].read(folder)
