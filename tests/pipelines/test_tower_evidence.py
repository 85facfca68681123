from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipelines.tower_evidence import Asked, Evaluated, Sizes, drawn, judged, later_pairs
from pipelines.train_tower import TowerConfig
from recsys import schemas
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.held_out import HeldOutConfig
from recsys.data.splits import SplitConfig
from recsys.evaluation.judgements import Judgements
from recsys.training.trainer import TrainerConfig
from recsys.training.validation import hold_out

LEAVE_OUT = TowerConfig(split=SplitConfig(protocol="leave_last_out", label_items=1))
HELD_OUT = HeldOutConfig(attribute="split", values=("val",))


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Eight items, g and h of the split val; two users go through a..h in order, one the other way up to c."""
    histories = {"u0": "abcdefgh", "u1": "abcdefgh", "u2": "hgfedc"}
    with DatasetWriter(tmp_path) as writer:
        writer.write(
            "items",
            [
                {
                    schemas.ITEM_ID: item,
                    schemas.TITLE: item * (1 + row),
                    schemas.ATTRIBUTES: [("split", "val" if item in "gh" else "train")],
                    schemas.CREATED_AT: datetime(2025, 1, 1 + row, tzinfo=UTC),
                }
                for row, item in enumerate("abcdefgh")
            ],
        )
        writer.write(
            "events",
            [
                {schemas.USER_ID: user, schemas.ITEM_ID: item, schemas.EVENT_TYPE: "click", schemas.ORDER: order}
                for user, items in histories.items()
                for order, item in enumerate(items)
            ],
        )
    return Dataset(tmp_path)


def ids(data: Dataset, rows: np.ndarray) -> str:
    return "".join(data.ids.externals(rows))


def test_items_that_the_config_holds_out_are_evaluated(data: Dataset) -> None:
    found = Evaluated.of(data, LEAVE_OUT.model_copy(update={"held_out": HELD_OUT}), Sizes())
    assert ids(data, found.rows) == "gh"
    assert found.which == "Evaluated are the 2 items that the tower's config holds out."
    assert not set("gh") & set(ids(data, np.concatenate([found.pairs.a, found.pairs.b])))


def test_without_held_out_items_those_that_training_validated_with_are_evaluated(data: Dataset) -> None:
    half = LEAVE_OUT.model_copy(update={"trainer": TrainerConfig(validation_share=0.49)})
    validated, learned = hold_out(np.arange(8, dtype=np.int32), 0.49, 0)
    found = Evaluated.of(data, half, Sizes())
    np.testing.assert_array_equal(found.rows, validated)
    np.testing.assert_array_equal(found.learned, learned)
    assert found.which.startswith("Evaluated are the 4 items that the tower never learned from")
    assert set(found.pairs.a) | set(found.pairs.b) <= set(learned)
    assert len(Evaluated.of(data, half, Sizes(items=3)).rows) == 3


def test_later_pairs_are_those_after_the_training_window(data: Dataset) -> None:
    """Label and test of u0 and u1 are g, h; of u2 d, c. The tower learns what comes before."""
    evaluated = Evaluated.of(data, LEAVE_OUT, Sizes())
    later = later_pairs(data, LEAVE_OUT, evaluated, Sizes())
    assert later is not None
    assert ids(data, later.anchors) == "dg"
    assert ids(data, later.partners.items) == "ch"
    known = [ids(data, later.known.between(row, row + 1).items) for row in (0, 1)]
    assert known == ["abef", "efh"]  # h -> g was learned the other way round, and counts as known; c validated
    assert [ids(data, np.flatnonzero(part.items)) for part in later.parts] == ["c"]  # the cold one


def test_items_held_out_of_training_are_cold(data: Dataset) -> None:
    config = LEAVE_OUT.model_copy(update={"held_out": HELD_OUT})
    later = later_pairs(data, config, Evaluated.of(data, config, Sizes()), Sizes())
    assert later is not None
    cold = next(part for part in later.parts if part.name == "cold")
    assert ids(data, np.flatnonzero(cold.items)) == "dgh"  # d validated


def test_a_data_set_without_events_has_no_later_pairs(data: Dataset) -> None:
    data.events = data.events.clear()
    assert later_pairs(data, LEAVE_OUT, Evaluated.of(data, LEAVE_OUT, Sizes()), Sizes()) is None


def test_texts_about_a_gallery_answer_with_places_in_it() -> None:
    asked = Asked("en", ["p", "q", "r"], np.eye(3, dtype=np.float32), Judgements.of([[9], [2, 5], [5]]))
    about = asked.among(np.array([2, 5, 7], np.int32))
    assert about.texts == ["q", "r"]
    assert [about.right.between(row, row + 1).items.tolist() for row in (0, 1)] == [[0, 1], [1]]
    np.testing.assert_array_equal(about.vectors, np.eye(3, dtype=np.float32)[1:])
    last = about.take(np.array([1], np.int32))
    assert (last.texts, last.right.items.tolist()) == (["r"], [1])
    assert asked.among(np.zeros(0, np.int32)).texts == []


def test_judgements_from_pairs() -> None:
    found = judged(np.array([0, 2, 2]), np.array([4, 1, 0]), 4)
    assert found.offsets.tolist() == [0, 1, 1, 3, 3]
    assert found.items.tolist() == [4, 1, 0]


def test_a_draw_keeps_the_order_and_repeats_itself() -> None:
    rows = np.arange(100, 200, dtype=np.int32)
    some = drawn(rows, 10)
    assert len(np.unique(some)) == 10
    assert (np.diff(some) > 0).all()
    np.testing.assert_array_equal(some, drawn(rows, 10))
    np.testing.assert_array_equal(drawn(rows, 500), rows)
