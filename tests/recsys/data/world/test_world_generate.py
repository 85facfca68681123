"""What is written: the same bytes for the same seed, a data set the house can read, and the truth beside it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from recsys import schemas
from recsys.artifacts import sha256_of
from recsys.data.dataset import Dataset
from recsys.data.world import Truth, World, WorldConfig, generate
from recsys.data.world.clock import DAY_MS, START, START_MS
from recsys.data.world.notes import NO_LOOK
from recsys.data.world.texts import NO_INTENT
from recsys.data.world.topics import SUBTOPICS, TOPICS, subtopic
from recsys.exceptions import DataError

SMALL = WorldConfig(n_items=60, n_users=20, n_authors=8, n_days=6, n_requests=60)


def written(config: WorldConfig, path: Path) -> dict[str, str]:
    generate(config, path)
    return {file.name: sha256_of(file) for file in path.iterdir()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again = written(SMALL, tmp_path / "first"), written(SMALL, tmp_path / "again")
    other = written(SMALL.model_copy(update={"seed": 8}), tmp_path / "other")
    assert first == again
    assert {name for name in first if first[name] == other[name]} == {"rejected.parquet"}


def test_counts_are_the_rows_that_can_be_read(tmp_path: Path) -> None:
    counts = generate(SMALL, tmp_path)
    dataset = Dataset(tmp_path)
    tables = {name: len(getattr(dataset, name)) for name in ("items", "users", "events", "queries", "rejected")}
    assert counts == tables
    assert (tables["items"], tables["users"], tables["rejected"]) == (60, 20, 0)


@pytest.fixture(scope="module")
def dataset(tiny_world: Path) -> Dataset:
    return Dataset(tiny_world)


@pytest.fixture(scope="module")
def truth(tiny_world: Path) -> Truth:
    return Truth.open(tiny_world)


def test_covers_are_portrait_jpegs_wherever_the_note_has_a_look(dataset: Dataset, truth: Truth) -> None:
    covers = [cover for batch in dataset.iter_covers() for cover in batch]
    has_cover = np.array([cover is not None for cover in covers])
    np.testing.assert_array_equal(has_cover, truth.attribute("style") != NO_LOOK)
    np.testing.assert_array_equal(has_cover, truth.attribute("palette") != NO_LOOK)
    assert 0.02 < 1 - has_cover.mean() < 0.12
    for cover in [cover for cover in covers if cover][::20]:
        picture = Image.open(io.BytesIO(cover))
        picture.load()
        assert (picture.format, picture.size) == ("JPEG", (240, 320))


def test_texts_say_what_the_truth_says(dataset: Dataset, truth: Truth) -> None:
    items = dataset.items
    speaks = truth.attribute("intent") != NO_INTENT
    np.testing.assert_array_equal((items[schemas.TEXT] != "").to_numpy(), speaks)
    assert 0.02 < 1 - speaks.mean() < 0.12
    for row in np.flatnonzero(speaks):
        names = subtopic(int(truth.attribute("subtopic")[row])).names(items[schemas.LANGUAGE][int(row)])
        assert any(name.lower() in items[schemas.TITLE][int(row)].lower() for name in names)
    topic_of_part = np.array([topic for topic, _ in SUBTOPICS])
    np.testing.assert_array_equal(topic_of_part[truth.attribute("subtopic")], truth.attribute("topic"))
    assert items[schemas.CATEGORY].to_list() == [TOPICS[topic].name for topic in truth.attribute("topic")]


def test_no_note_lacks_both_picture_and_words(truth: Truth) -> None:
    assert not ((truth.attribute("style") == NO_LOOK) & (truth.attribute("intent") == NO_INTENT)).any()


def test_both_languages_are_written(dataset: Dataset) -> None:
    assert 0.4 < (dataset.items[schemas.LANGUAGE] == "zh").mean() < 0.8


def test_new_notes_arrive_over_the_whole_period(dataset: Dataset, truth: Truth) -> None:
    created = dataset.items[schemas.CREATED_AT].dt.epoch("ms").to_numpy()
    np.testing.assert_array_equal(created, truth.created_at)
    arriving = (created[created >= START_MS] - START_MS) // (7 * DAY_MS)
    per_week = np.bincount(arriving, minlength=4)
    assert len(per_week) == 4
    assert per_week.min() > 0.1 * len(created)
    np.testing.assert_array_equal(truth.exists_at(START), created <= START_MS)


def test_grades_of_the_written_queries_agree_with_the_truth(dataset: Dataset, truth: Truth) -> None:
    queries = dataset.queries
    rows = truth.items.rows(queries[schemas.ITEM_ID])
    part, topic = truth.attribute("subtopic")[rows], truth.attribute("topic")[rows]
    native = (queries[schemas.LANGUAGE] == dataset.items[schemas.LANGUAGE].gather(pl.Series(rows))).to_numpy()
    asked = {
        name: number for number in range(len(SUBTOPICS)) for name in (subtopic(number).zh[0], subtopic(number).en[0])
    }
    plain = queries[schemas.QUERY].is_in(list(asked)).to_numpy()
    wanted = np.array([asked.get(text, -1) for text in queries[schemas.QUERY]])
    expected = np.where(wanted == part, 3, 1) - ~native
    np.testing.assert_array_equal(queries[schemas.GRADE].to_numpy()[plain], expected[plain])
    topic_wanted = np.array([SUBTOPICS[number][0] for number in wanted])
    np.testing.assert_array_equal(topic_wanted[plain], topic[plain])
    assert queries[schemas.GRADE].min() == 1
    assert queries[schemas.GRADE].max() == 3


def test_the_truth_survives_being_saved(tmp_path: Path) -> None:
    truth = World.draw(SMALL).truth
    truth.save(tmp_path)
    reopened, users = Truth.open(tmp_path), truth.users.externals(range(5))
    time = START_MS + 3 * DAY_MS
    preference = truth.preference(users, time)
    np.testing.assert_array_equal(reopened.preference(users, time), preference)
    assert (preference.shape, preference.dtype) == ((5, 60), np.float32)


def test_preference_is_the_logistic_of_the_sum_of_tastes() -> None:
    truth = World.draw(SMALL).truth
    user, item = 3, 17
    begins = np.concatenate([[0], np.cumsum(truth.widths)])
    codes = truth.codes[item]
    parts = [truth.start[user, begin + code] for begin, code in zip(begins[:-1], codes, strict=True) if code >= 0]
    expected = 1 / (1 + np.exp(-(sum(parts) + truth.quality[item] - 2.4)))
    assert truth.preference([truth.users[user]], START)[0, item] == pytest.approx(expected, rel=1e-5)


def test_an_unknown_user_and_a_data_set_without_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nobody'"):
        World.draw(SMALL).truth.preference(["u01", "nobody"], START)
    assert not Truth.exists(tmp_path)
    with pytest.raises(DataError, match=r"holds no truth\.npz"):
        Truth.open(tmp_path)
