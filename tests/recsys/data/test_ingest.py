import io
import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recsys import schemas
from recsys.data.captions import Captions
from recsys.data.dataset import TABLES, Dataset
from recsys.data.held_out import HeldOutConfig, held_out_rows
from recsys.data.ingest import IngestConfig, IngestSummary, ingest
from recsys.data.mapped import MappedReader
from recsys.data.mapping import Mapping
from recsys.data.media import ImageLimits
from recsys.exceptions import DataError

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = REPOSITORY / "pipelines/configs/datasets"
NOW = datetime(2024, 6, 1, tzinfo=UTC)


def jpeg(shade):
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).save(stream, "JPEG")
    return stream.getvalue()


def run(folder, target, text, **limits):
    reader = MappedReader(folder, Mapping.model_validate(tomllib.loads(text)))
    summary = ingest(reader, target, IngestConfig(images=ImageLimits(**limits)), NOW)
    return summary, Dataset(target)


def test_a_folder_of_csv_and_picture_files_from_end_to_end(tmp_path):
    folder = tmp_path / "raw"
    (folder / "pictures").mkdir(parents=True)
    covers = {"a.jpg": jpeg(10), "b.jpg": jpeg(200)}
    for name, content in covers.items():
        (folder / "pictures" / name).write_bytes(content)
    (folder / "huge.png").write_bytes(b"")
    (tmp_path / "secret.jpg").write_bytes(jpeg(99))
    (folder / "notes.csv").write_text(
        "id,title,files\n"
        "1,one,pictures/a.jpg;pictures/b.jpg\n"
        "2,two,pictures/none.jpg\n"
        "3,,huge.png\n"
        "4,four,../secret.jpg\n"
        "5,five\n"
        "6,,pictures/b.jpg\n"
    )
    (folder / "clicks.csv").write_text("u,i,t\nx,1,1700000000\nx,3,1700000001\ny,6,1900000000\ny,6,1700000002\n")
    text = """
        [items]
        files = "notes.csv"
        columns = { item_id = "id", title = "title", images = "files" }
        delimiters.files = ";"
        [events]
        files = "clicks.csv"
        columns = { user_id = "u", item_id = "i", timestamp = "t" }
        constants.event_type = "click"
        time_format = "s"
    """
    summary, data = run(folder, tmp_path / "data", text)
    assert summary == IngestSummary(
        kept={"items": 4, "events": 2},
        rejected={
            "items": {
                "malformed line": 1,
                "no picture file": 1,
                "picture path outside the folder": 1,
                "empty picture": 1,
                "neither picture nor text": 1,
            },
            "events": {"unknown item": 1, "timestamp in the future": 1},
        },
        with_picture=2,
        with_text=3,
        pictures=3,
        with_features=0,
    )
    assert data.items.select(schemas.ITEM_ID, schemas.TITLE, "n_images").rows() == [
        ("1", "one", 2),
        ("2", "two", 0),
        ("4", "four", 0),
        ("6", None, 1),
    ]
    assert data.covers([0, 3, 1]) == [covers["a.jpg"], covers["b.jpg"], None]  # the bytes as they were
    assert data.events.select(schemas.USER_ID, schemas.ITEM_ID).rows() == [("x", "1"), ("y", "6")]
    assert data.rejected.select(schemas.FILE, schemas.ROW, schemas.REASON).sort(schemas.FILE, schemas.ROW).rows() == [
        ("clicks.csv", 1, "unknown item"),
        ("clicks.csv", 2, "timestamp in the future"),
        ("notes.csv", 1, "no picture file"),
        ("notes.csv", 2, "empty picture"),
        ("notes.csv", 2, "neither picture nor text"),
        ("notes.csv", 3, "picture path outside the folder"),
        ("notes.csv", 4, "malformed line"),
    ]
    late = data.rejected.filter(pl.col(schemas.REASON) == "timestamp in the future")[schemas.RECORD].item()
    assert json.loads(late)[schemas.TIMESTAMP] == "1900000000"
    for name, schema in TABLES.items():
        assert pq.read_schema(tmp_path / "data" / f"{name}.parquet").equals(schema)


@pytest.mark.parametrize("rows_per_group", [7, 100_000])
@pytest.mark.parametrize("kind", ["bytes", "paths", "csv"])
def test_a_table_of_pictures_in_any_order(tmp_path, kind, rows_per_group):
    """Item i has i % 3 pictures, of shades that tell item and number; their rows are shuffled over two files."""
    shades = {(item, number): jpeg((item * 3 + number) % 256) for item in range(300) for number in range(item % 3)}
    pictures = [(item, number, content) for (item, number), content in shades.items()]
    pictures = [pictures[place] for place in np.random.default_rng(0).permutation(len(pictures))]
    pictures.append((9999, 0, jpeg(5)))
    pictures.append((1, 7, b"broken"))
    shades[1, 7] = b"broken"
    if kind != "bytes":
        for item, number, content in pictures:
            (tmp_path / f"{item}-{number}.jpg").write_bytes(content)
        pictures = [(item, number, f"{item}-{number}.jpg") for item, number, _ in pictures]
    table = pa.Table.from_pylist([{"k": item, "n": number, "image": image} for item, number, image in pictures])
    for name, part in {"p-0": table.slice(0, 150), "p-1": table.slice(150)}.items():
        if kind == "csv":
            pl.DataFrame(pl.from_arrow(part)).write_csv(tmp_path / f"{name}.csv")
        else:
            pq.write_table(part, tmp_path / f"{name}.parquet", row_group_size=rows_per_group)
    pl.DataFrame({"id": range(300), "t": ["text"] * 300}).write_parquet(tmp_path / "items.parquet")
    text = """
        [items]
        files = "items.parquet"
        columns = { item_id = "id", title = "t" }
        [items.images]
        files = "p-?.*"
        key = "k"
        order = "n"
        image = "image"
    """
    summary, data = run(tmp_path, tmp_path / "data", text)
    stored = pq.read_table(tmp_path / "data/items.parquet", columns=[schemas.IMAGES]).column(0).to_pylist()
    assert [images or [] for images in stored] == [[shades[item, n] for n in range(item % 3)] for item in range(300)]
    assert summary.pictures == 300
    assert summary.rejected["items"] == {"picture of an unknown item": 1, "not a JPEG, PNG or WebP picture": 1}
    unknown = data.rejected.filter(pl.col(schemas.REASON) == "picture of an unknown item").row(0)
    file = "p-1.csv" if kind == "csv" else "p-1.parquet"
    assert unknown == (file, len(pictures) - 2 - 150, "picture of an unknown item", '{"item_id":"9999"}')


@pytest.mark.parametrize("place", ["list", "array", "csv", "table", "two tables"])
def test_vectors_of_covers_from_every_place(tmp_path, place):
    """Item i has i % 3 vectors, of which the one of the lowest order belongs to its cover; the tables are shuffled."""
    covers = {str(item): [item / 4, 1.0] if item % 3 else None for item in range(300)}
    items = pl.DataFrame({"id": range(300), "t": "text", "v": list(covers.values())})
    column = 'columns = { item_id = "id", title = "t", image_features = "v" }'
    leftover = {}
    if place == "csv":
        items.with_columns(pl.col("v").list.eval(pl.element().cast(pl.String)).list.join(" ")).write_csv(
            tmp_path / "items.csv"
        )
        column += '\ndelimiters.v = " "'
    elif place in ("list", "array"):
        kind = pl.List(pl.Float32) if place == "list" else pl.Array(pl.Float16, 2)
        items.with_columns(pl.col("v").cast(kind)).write_parquet(tmp_path / "items.parquet")
    else:
        rows = [(item, number, [item / 4, 1.0 + number]) for item in range(300) for number in range(item % 3)]
        rows.append((9999, 0, [7.0, 7.0]))
        table = pl.DataFrame(rows, schema={"k": pl.Int64, "n": pl.Int64, "w": pl.Array(pl.Float32, 2)}, orient="row")
        table = table.sample(fraction=1, shuffle=True, seed=1)
        for number, part in enumerate([table] if place == "table" else [table[:150], table[150:]]):
            part.write_parquet(tmp_path / f"v-{number}.parquet")
        items.drop("v").write_parquet(tmp_path / "items.parquet")
        column = 'columns = { item_id = "id", title = "t" }\n'
        column += 'image_features = { files = "v-?.parquet", key = "k", order = "n", vector = "w" }'
        leftover = {"items": {"image_features of an unknown item": 1}}
    summary, data = run(tmp_path, tmp_path / "data", f'[items]\nfiles = "items.*"\n{column}')
    assert (summary.with_features, summary.rejected) == (200, leftover)
    vectors, present = data.image_features(range(300))
    assert dict(zip(data.ids, present, strict=True)) == {item: cover is not None for item, cover in covers.items()}
    np.testing.assert_array_equal(vectors, np.float32([cover or [0, 0] for cover in covers.values()]))
    if leftover:
        file, _, _, record = data.rejected.row(0)
        assert (file[:2], json.loads(record)) == ("v-", {schemas.ITEM_ID: "9999"})


def test_the_vector_of_another_picture_never_stands_for_the_cover(tmp_path):
    pl.DataFrame({"id": ["a", "b", "c"], "t": "x"}).write_parquet(tmp_path / "items.parquet")
    rows = [("a", [1.0, 2.0]), ("b", None), ("b", [3.0, 4.0]), ("c", [1.0]), ("c", [3.0, 4.0]), (None, [5.0, 6.0])]
    pl.DataFrame(rows, schema=["k", "w"], orient="row").write_parquet(tmp_path / "v.parquet")
    text = """
        [items]
        files = "items.parquet"
        columns = { item_id = "id", title = "t" }
        image_features = { files = "v.parquet", key = "k", vector = "w" }
    """
    summary, data = run(tmp_path, tmp_path / "data", text)
    assert data.image_features([0, 1, 2])[0].tolist() == [[1, 2], [0, 0], [0, 0]]
    rejected = {"image_features of another width": 1, "image_features of an unknown item": 1}
    assert summary.rejected == {"items": rejected}
    assert data.rejected.select(schemas.FILE, schemas.ROW, schemas.RECORD).rows() == [
        ("items.parquet", 2, '{"item_id":"c","width":1}'),
        ("v.parquet", 5, '{"item_id":null}'),
    ]


def test_changed_vectors_are_changed_inputs(tmp_path):
    for name in ("items", "v"):
        pl.DataFrame({"id": ["a"], "w": [[1.0]]}).write_parquet(tmp_path / f"{name}.parquet")
    text = '[items]\nfiles = "items.parquet"\ncolumns.item_id = "id"\n'
    text += 'image_features = { files = "v.parquet", key = "id", vector = "w" }'
    reader = MappedReader(tmp_path, Mapping.model_validate(tomllib.loads(text)))
    assert [file.name for file in reader.files()] == ["items.parquet", "v.parquet"]


def test_a_table_of_vectors_that_holds_none(tmp_path):
    pl.DataFrame({"id": ["a"], "w": ["words"]}).write_parquet(tmp_path / "a.parquet")
    text = '[items]\nfiles = "a.parquet"\ncolumns.item_id = "id"\n'
    text += 'image_features = { files = "a.parquet", key = "id", vector = "w" }'
    with pytest.raises(DataError, match=r"a\.parquet: 'w' holds String, not lists of numbers"):
        run(tmp_path, tmp_path / "data", text)


def test_pictures_cannot_be_ordered_by_words(tmp_path):
    pl.DataFrame({"id": ["a"], "n": ["first"], "image": [jpeg(1)]}).write_parquet(tmp_path / "a.parquet")
    text = """
        [items]
        files = "a.parquet"
        columns.item_id = "id"
        images = { files = "a.parquet", key = "id", order = "n", image = "image" }
    """
    with pytest.raises(DataError, match="'n' is not a number everywhere"):
        run(tmp_path, tmp_path / "data", text)


def test_the_limit_on_pixels_is_the_configured_one(tmp_path):
    pl.DataFrame({"id": ["a"], "t": ["x"], "i": [jpeg(1)]}).write_parquet(tmp_path / "items.parquet")
    text = '[items]\nfiles = "items.parquet"\ncolumns = { item_id = "id", title = "t", images = "i" }'
    assert run(tmp_path, tmp_path / "data", text, max_pixels=64)[0].pictures == 1
    assert run(tmp_path, tmp_path / "data", text, max_pixels=63)[0].pictures == 0


def test_a_data_set_without_items_is_an_error(tmp_path):
    (tmp_path / "items.csv").write_text("id,t\n")
    with pytest.raises(DataError, match=r"None of the items can be used: there are none\."):
        run(tmp_path, tmp_path / "data", '[items]\nfiles = "items.csv"\ncolumns = { item_id = "id", title = "t" }')


def test_when_nothing_is_left_the_reasons_are_told(tmp_path):
    (tmp_path / "items.csv").write_text("id,t\n1,one\n2,two\n")
    (tmp_path / "events.csv").write_text("u,i,t\nx,1,1700000000000\nx,9,1700000000000\n")
    text = """
        [items]
        files = "items.csv"
        columns = { item_id = "id", title = "t" }
        [events]
        files = "events.csv"
        columns = { user_id = "u", item_id = "i", timestamp = "t" }
        constants.event_type = "click"
        time_format = "s"
    """
    with pytest.raises(DataError, match=r"None of the events .*unreadable timestamp \(2\)"):
        run(tmp_path, tmp_path / "data", text)


MEASURE = """
import sys, tomllib
from pathlib import Path
from recsys.data.ingest import IngestConfig, ingest
from recsys.data.mapped import MappedReader
from recsys.data.mapping import Mapping
folder = Path(sys.argv[1])
mapping = Mapping.model_validate(tomllib.loads(sys.argv[2]))
summary = ingest(MappedReader(folder, mapping), folder / "data", IngestConfig())
peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
print(summary.pictures, int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory as Linux reports it")
@pytest.mark.parametrize("place", ["column", "table"])
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, place):
    """Eight times the pictures in one row group (196 MB, not 25): the peak grows by less than a third of that."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    picture = stream.getvalue()
    columns = 'columns = { item_id = "id", images = "image" }'
    if place == "table":
        columns = 'columns = { item_id = "id", title = "id" }\n'
        columns += 'images = { files = "a.parquet", key = "id", image = "image" }'
    mapping = f'[items]\nfiles = "a.parquet"\n{columns}'
    peaks = []
    for count in (500, 4000):
        folder = tmp_path / str(count)
        folder.mkdir()
        table = pa.table({"id": pa.array(range(count)), "image": [picture] * count})
        pq.write_table(table, folder / "a.parquet", use_dictionary=False, compression="none", write_batch_size=64)
        assert (folder / "a.parquet").stat().st_size > count * 49_000
        command = [sys.executable, "-c", MEASURE, str(folder), mapping]
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        pictures, peak = map(int, result.stdout.split())
        assert pictures == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 3500 * 49_000 / 2**20 / 3


def test_howtocook(shared_data, tmp_path):
    text = (CONFIGS / "howtocook-zh.toml").read_text(encoding="utf-8")
    summary, data = run(shared_data / "howtocook-zh", tmp_path, text)
    assert summary == IngestSummary(
        kept={"items": 368}, rejected={}, with_picture=175, with_text=368, pictures=342, with_features=175
    )
    counts = data.items[schemas.CATEGORY].value_counts().rows()
    assert dict(counts)["meat_dish"] == 110
    images = pl.read_parquet(shared_data / "howtocook-zh/images.parquet", columns=["note_id", "image_no", "image"])
    covers = {str(key): image for key, number, image in images.iter_rows() if number == 0}
    assert dict(zip(data.ids, data.covers(range(368)), strict=True)) == {i: covers.get(i) for i in data.ids}
    table = pl.read_parquet(shared_data / "howtocook-zh/image_features.parquet").filter(pl.col("image_no") == 0)
    rows = data.ids.rows(table["note_id"].cast(pl.String))
    vectors, present = data.image_features(rows)
    assert present.all()
    np.testing.assert_array_equal(vectors, table["image_features"].to_numpy().astype(np.float32))
    assert data.image_features(range(368))[1].sum() == 175


def test_ml1m(shared_data, tmp_path):
    text = (CONFIGS / "ml1m-multimodal.toml").read_text(encoding="utf-8")
    summary, data = run(shared_data / "ml1m-multimodal", tmp_path, text)
    assert summary == IngestSummary(
        kept={"items": 3883, "users": 6040, "events": 1_000_209},
        rejected={},
        with_picture=3256,
        with_text=3883,
        pictures=3256,
        with_features=3256,
    )
    assert len(data.items) - data.items[schemas.TEXT].null_count() == 3856
    assert data.events[schemas.ITEM_ID].n_unique() == 3706
    pictured = data.items.filter(pl.col("n_images") > 0)[schemas.ITEM_ID]
    assert data.events[schemas.ITEM_ID].is_in(pictured.implode()).sum() == 998_108
    assert not data.has_timestamps
    first = data.events.filter(pl.col(schemas.USER_ID) == "1").head(2)
    assert first.select(schemas.ITEM_ID, schemas.ORDER).rows() == [("3186", 0), ("1721", 1)]


def test_flickr8k(shared_data, tmp_path):
    """All captions are queries, machine translations those of train photos only; the first of each is text as well."""
    folder = shared_data / "flickr8k-bilingual"
    summary, data = run(folder, tmp_path, (CONFIGS / "flickr8k-bilingual.toml").read_text(encoding="utf-8"))
    assert summary == IngestSummary(
        kept={"items": 7000, "queries": 70_000 + 30_000},
        rejected={},
        with_picture=7000,
        with_text=7000,
        pictures=7000,
        with_features=7000,
    )
    vectors, present = data.image_features(range(7000))
    assert vectors.shape == (7000, data.feature_width) == (7000, 1024)
    assert present.all()
    table = pl.read_parquet(folder / "image_features.parquet")
    np.testing.assert_array_equal(
        vectors[data.ids.rows(table["image_id"])], table["image_features"].to_numpy().astype(np.float32)
    )
    rows = held_out_rows(data, HeldOutConfig(attribute="split", values=("val",)))
    theirs = pl.read_parquet(folder / "val.parquet", columns=["image_id", "caption_en", "caption_zh"])
    assert data.ids.externals(rows) == theirs["image_id"].to_list()
    assert len(rows) == 1000
    captions = Captions.of(data, rows)
    assert len(captions) == 10_000
    for row, text, english, chinese in zip(
        rows, data.items[schemas.TEXT].gather(rows), theirs["caption_en"], theirs["caption_zh"], strict=True
    ):
        numbers = captions.captions_of(row)
        assert text == f"{english[0].strip()}\n{chinese[0].strip()}"
        assert [captions.texts[number] for number in numbers] == [*english, *chinese]
        assert [captions.languages[number] for number in numbers] == ["en"] * 5 + ["zh"] * 5
    trained = pl.read_parquet(folder / "train-0.parquet", columns=["image_id", "caption_zh_mt"]).row(0)
    translated = Captions.of(data, data.ids.rows([trained[0]]), ["zh-mt"])
    assert translated.texts == [caption.strip() for caption in trained[1]]
