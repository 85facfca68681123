from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import DEFAULT
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.exceptions import RecsysError
from recsys.towers.base import item_texts

README = Path(__file__).resolve().parents[2] / "README.md"
COMMANDS = (
    "quickstart",
    "run",
    "ingest",
    "train-tower",
    "embed",
    "capfilt",
    "evaluate-tower",
    "index",
    "features",
    "train-user-tower",
    "train-ranker",
    "evaluate",
    "search",
    "recommend",
    "similar",
    "explain",
    "status",
)


def recsys(*arguments: str | Path) -> dict[str, Any]:
    """Output of a command with ``--json``, run in this process."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*arguments: str | Path) -> str:
    """What the error of a mistake says."""
    with pytest.raises(RecsysError) as caught:
        CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return str(caught.value)


@pytest.fixture(scope="module")
def data(tiny_home: Path) -> Dataset:
    return Dataset(ArtifactStore(tiny_home).current("dataset").path)


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    names |= {str(group.name) for group in app.registered_groups}
    assert names == set(COMMANDS)
    readme = README.read_text()
    for name in COMMANDS:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0
        assert "--home" in re.sub(r"\x1b\[[0-9;]*m", "", result.output)
        assert f"recsys {name}" in readme, name


def test_similar_leaves_the_item_out_and_puts_the_nearest_first(tiny_home: Path, data: Dataset) -> None:
    item = data.ids[5]
    answers = recsys("similar", item, "-k", "4", "--home", tiny_home)["answers"]
    assert len({answer["item_id"] for answer in answers} - {item}) == 4
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)


def test_search_by_picture_finds_the_picture(tiny_home: Path, data: Dataset, tmp_path: Path) -> None:
    """Not always first, since the index holds fused vectors: but near the top for most covers."""
    rows = [row for row in range(40) if data.items["n_images"][row]][:12]
    hits = 0
    for row, cover in zip(rows, data.covers(rows), strict=True):
        assert cover is not None
        (tmp_path / "cover.jpg").write_bytes(cover)
        answers = recsys("search", "--image", tmp_path / "cover.jpg", "-k", "60", "--home", tiny_home)["answers"]
        hits += data.ids[row] in [answer["item_id"] for answer in answers]
    assert hits >= 6  # by chance: 12 * 60 / 300 = 2.4


def test_a_text_and_a_picture_are_searched_together(tiny_home: Path, data: Dataset, tmp_path: Path) -> None:
    row = next(row for row in range(40) if data.items["n_images"][row])
    [cover] = data.covers([row])
    assert cover is not None
    (tmp_path / "cover.jpg").write_bytes(cover)
    text = str(item_texts(data.items)[row])
    answers = recsys("search", text, "--image", tmp_path / "cover.jpg", "-k", "3", "--home", tiny_home)["answers"]
    assert answers[0]["item_id"] == data.ids[row]
    assert answers[0]["why"] == "close to the text and the picture"


def test_search_by_text_says_which_source_found_what(tiny_home: Path) -> None:
    answers = recsys("search", "手冲咖啡", "-k", "20", "--home", tiny_home)["answers"]
    assert {reason.split(" #")[0] for answer in answers for reason in answer["why"].split(", ")} == {"words", "dense"}


def test_search_by_text_prefers_what_was_judged_relevant(tiny_home: Path, data: Dataset) -> None:
    relevant = data.queries.group_by(schemas.QUERY, maintain_order=True).agg(schemas.ITEM_ID)
    precision, chance = 0.0, 0.0
    for query, items in relevant.head(10).iter_rows():
        answers = recsys("search", query, "-k", "10", "--home", tiny_home)["answers"]
        precision += len({answer["item_id"] for answer in answers} & set(items)) / 10
        chance += len(items) / len(data.ids)
    assert precision > 1.3 * chance


def test_recommend_shows_nothing_twice_and_nothing_seen(tiny_home: Path, data: Dataset) -> None:
    clicks = data.events.filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
    user = clicks[schemas.USER_ID].mode()[0]
    answers = [answer["item_id"] for answer in recsys("recommend", user, "--home", tiny_home)["answers"]]
    assert len(set(answers)) == 10
    assert not set(answers) & set(clicks.filter(pl.col(schemas.USER_ID) == user)[schemas.ITEM_ID])


def test_a_stranger_gets_a_feed_too(tiny_home: Path) -> None:
    answers = recsys("recommend", "nobody", "-k", "3", "--home", tiny_home)["answers"]
    assert [answer["why"].split(" #")[0] for answer in answers] == ["popularity"] * 3


def test_ingest_reads_a_folder_and_keeps_what_it_rejects(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    notes = [
        ("a", "tea", stream.getvalue()),
        ("b", "", b"no picture"),
        ("a", "again", None),
        ("c", "coffee", b"GIF89a"),
    ]
    pl.DataFrame(notes, schema=["id", "title", "picture"], orient="row").write_parquet(folder / "notes.parquet")
    (folder / "clicks.csv").write_text("user,id,time\nu,a,1700000000\nu,zzz,1700000001\n")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        """
        [items]
        files = "notes.parquet"
        columns = { item_id = "id", title = "title", images = "picture" }
        [events]
        files = "clicks.csv"
        columns = { user_id = "user", item_id = "id", timestamp = "time" }
        constants.event_type = "click"
        time_format = "s"
        """
    )
    found = recsys("ingest", folder, "--mapping", mapping, "--home", tmp_path / "home")
    assert found["kept"] == {"items": 2, "events": 1}
    assert sum(sum(reasons.values()) for reasons in found["rejected"].values()) == 5
    rejected = Dataset(ArtifactStore(tmp_path / "home").current("dataset").path).rejected
    assert sorted(zip(rejected["file"], rejected["row"], strict=True)) == [
        ("clicks.csv", 1),
        ("notes.parquet", 1),
        ("notes.parquet", 1),
        ("notes.parquet", 2),
        ("notes.parquet", 3),
    ]


def test_a_mistake_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    code = "from pipelines.cli import main; main()"
    command = [sys.executable, "-c", code, "recommend", "u1", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no dataset in")
    assert "Traceback" not in done.stderr
    usage = CliRunner().invoke(app, ["similar", "n001", "-k", "0"])
    assert usage.exit_code == 2


def test_a_mistake_names_the_value_and_the_remedy(tiny_home: Path, tmp_path: Path) -> None:
    assert "There is no item 'zzz'" in refused("similar", "zzz", "--home", tiny_home)
    assert "recsys quickstart" in refused("recommend", "u1", "--home", tmp_path / "empty")
    assert "There is no folder" in refused("ingest", tmp_path / "missing", "--home", tmp_path)
    (tmp_path / "note.jpg").write_text("not a picture")
    message = refused("search", "--image", tmp_path / "note.jpg", "--home", tiny_home)
    assert "note.jpg: not a JPEG, PNG or WebP picture" in message
    assert "nothing to search for" in refused("search", "--home", tiny_home)
    assert "blank" in refused("search", " ", "--home", tiny_home)
    assert "holds no checkpoint" in refused("train-tower", "--text-model", tmp_path, "--home", tiny_home)
    assert "cannot be read" in refused("run", "--config", tmp_path, "--home", tmp_path / "empty")
    assert "names no data set" in refused("run", "--config", DEFAULT, "--home", tmp_path / "empty")


def test_vectors_of_another_tower_are_refused(tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home)
    recsys("train-tower", "--home", home, "--config", _other_tower(tmp_path))
    assert "made from another tower" in refused("search", "coffee", "--home", home)
    assert "made from another tower" in refused("evaluate", "--home", home)


def _other_tower(folder: Path) -> Path:
    file = folder / "other.toml"
    trainer = "trainer = {steps = 5, evaluate_every = 5, seed = 9}"
    file.write_text(f'name = "other"\nsize = "tiny"\ndataset.world = {{}}\n{trainer}')
    return file
