from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from feature_store.definitions import Entity, FeatureView, Field
from tests.feature_store.declared import ITEM, item_view


def test_a_record_is_packed_without_gaps() -> None:
    record = item_view().record
    assert record.itemsize == 8 + 8 + 4 + 4 + 3 * 2
    assert record["cover"].shape == (3,)
    assert record["event_time"] == np.dtype(">i8")


def test_bytes_of_records_compare_as_their_times_do() -> None:
    records = np.zeros(3, item_view().record)
    records["event_time"] = [255, 256, 256]
    records["created_time"] = [2**40, 7, 8]
    texts = [record.tobytes()[:16] for record in records]
    assert texts == sorted(texts)


@pytest.mark.parametrize("name", ["Ctr", "a__b", "a-b", "", "_a", "a b"])
def test_names_are_fit_for_files_and_columns(name: str) -> None:
    with pytest.raises(ValidationError):
        Field(name=name)


def test_whole_numbers_need_a_default() -> None:
    with pytest.raises(ValidationError, match="give it a default"):
        Field(name="clicks", dtype="int32")


@pytest.mark.parametrize(
    ("fields", "ttl", "message"),
    [
        ((Field(name="a"), Field(name="a")), None, "repeated"),
        ((Field(name="item_id"),), None, "repeated"),
        ((), None, "needs entities and fields"),
        ((Field(name="event_time"),), None, "meaning of its own"),
        ((Field(name="a"),), timedelta(0), "positive"),
    ],
)
def test_a_view_that_cannot_work_is_refused(fields: tuple[Field, ...], ttl: timedelta | None, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FeatureView(name="stats", entities=(ITEM,), fields=fields, ttl=ttl)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError):
        Entity(name="user", key="user_id", kind="string")  # type: ignore[call-arg]
