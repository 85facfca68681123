from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.measure import HeldOut, protocol, to_depth
from recsys import schemas
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.interactions import Interactions
from recsys.data.splits import Split, SplitConfig, split_events
from recsys.types import NO_ROW, Candidates


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Three users over seven items, leave-last-out with two label items: u0 ends with g, u1 with a, u2 is too short."""
    histories = {"u0": "abcdefg", "u1": "gfedcba", "u2": "ab"}
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{schemas.ITEM_ID: item, schemas.TITLE: item} for item in "abcdefg"])
        writer.write(
            "events",
            [
                {schemas.USER_ID: user, schemas.ITEM_ID: item, schemas.EVENT_TYPE: "click", schemas.ORDER: order}
                for user, items in histories.items()
                for order, item in enumerate(items)
            ],
        )
    return Dataset(tmp_path)


def held_out(data: Dataset) -> tuple[Split, Interactions, HeldOut]:
    split = split_events(data.events, SplitConfig(label_items=2))
    before = Interactions.of(split.before_test, data.ids)
    return split, before, HeldOut.of(data, split, before, logged=False)


def test_each_user_is_asked_for_the_last_item_given_all_before(data: Dataset) -> None:
    split, before, found = held_out(data)
    assert before.users_map.externals(found.users) == ["u0", "u1"]
    assert [data.ids.externals(found.histories[user]) for user in (0, 1)] == [list("abcdef"), list("gfedcb")]
    assert data.ids.externals(found.judgements.items) == ["g", "a"]
    assert found.moment is None
    assert found.requests(np.zeros((2, 1), np.int32)).times is None
    assert protocol(split).startswith("Leave-last-out")


def test_what_was_seen_before_is_not_asked_for_and_strangers_are_counted(data: Dataset) -> None:
    split, before, _ = held_out(data)
    again = split.test.with_columns(pl.lit("a").alias(schemas.ITEM_ID))  # u0 knows a already; for u1 it is new
    stranger = again.head(1).with_columns(pl.lit("u9").alias(schemas.USER_ID))
    later = Split("leave_last_out", split.fit, split.label, pl.concat([again, stranger]), None, None)
    found = HeldOut.of(data, later, before, logged=False)
    assert before.users_map.externals(found.users) == ["u1"]
    assert found.strangers == 1


def test_lists_are_padded_or_cut_to_the_depth_that_is_measured() -> None:
    found = Candidates(np.array([[4, 2]], np.int32), np.array([[0.9, 0.1]], np.float32), "fused")
    assert to_depth(found, 4).rows.tolist() == [[4, 2, NO_ROW, NO_ROW]]
    assert to_depth(found, 4).scores.tolist()[0][2:] == [-np.inf, -np.inf]
    assert to_depth(found, 1).rows.tolist() == [[4]]
