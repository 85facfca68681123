"""The point-in-time join against brute force, duckdb's ASOF join and an online store, on random timelines."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.definitions import FeatureView, Field
from feature_store.offline.history import get_historical_features, write_historical_features
from feature_store.offline.store import OfflineStore
from feature_store.online.embedded import LmdbStore
from feature_store.read import get_online_features
from feature_store.recency import NEVER, counts, online_states
from feature_store.records import pack
from feature_store.service import FeatureService
from tests.feature_store.declared import DAY, ITEM, START, USER, at

TTL = 6
STEP = DAY / 2  # between two ticks: rows of a timeline stand in several partitions
ITEMS = ("a", "b", "词")


@dataclass(frozen=True)
class Row:
    """In ticks."""

    item: str
    event: int
    delay: int  # until it was created
    value: float | None


@dataclass(frozen=True)
class Label:
    item: str | None
    time: int


rows = st.lists(
    st.builds(
        Row,
        st.sampled_from(ITEMS),
        st.integers(0, 12),
        st.sampled_from([0, 0, 0, 1, 5]),
        st.one_of(st.none(), st.integers(0, 99).map(float)),
    ),
    max_size=25,
)
labels = st.lists(st.builds(Label, st.sampled_from([*ITEMS, "unknown", None]), st.integers(0, 20)), max_size=15)
ttls = st.sampled_from([None, TTL, 1])


def view_of(ttl: int | None) -> FeatureView:
    return FeatureView(
        name="stats",
        entities=(ITEM,),
        fields=(Field(name="value", dtype="float64", default=-1.0), Field(name="number", dtype="int64", default=-2)),
        ttl=None if ttl is None else ttl * STEP,
    )


def frame_of(timeline: list[Row]) -> pl.DataFrame:
    kinds = {"item_id": pl.String, "event_time": pl.Datetime("us", "UTC"), "created_time": pl.Datetime("us", "UTC")}
    return pl.DataFrame(
        [
            (row.item, START + row.event * STEP, START + (row.event + row.delay) * STEP, row.value, number)
            for number, row in enumerate(timeline)
        ],
        schema={**kinds, "value": pl.Float64, "number": pl.Int64},
        orient="row",
    )


def asked(wanted: list[Label]) -> pl.DataFrame:
    return pl.DataFrame(
        [(label.item, START + label.time * STEP, place) for place, label in enumerate(wanted)],
        schema={"item_id": pl.String, "request_time": pl.Datetime("us", "UTC"), "place": pl.Int64},
        orient="row",
    )


def by_hand(timeline: list[Row], label: Label, ttl: int | None) -> tuple[float, int]:
    """The rule as it is written down, without a join, an index or an order."""
    known = [
        (row.event, row.event + row.delay, number, row)
        for number, row in enumerate(timeline)
        if row.item == label.item and row.event + row.delay <= label.time
    ]
    if not known:
        return -1.0, -2
    event, _, number, row = max(known, key=lambda one: one[:3])
    if ttl is not None and label.time - event > ttl:
        return -1.0, -2
    return (-1.0 if row.value is None else row.value), number


def written(folder: Path, view: FeatureView, timeline: list[Row], batches: int) -> OfflineStore:
    """The timeline in some writes, in its order."""
    store, frame = OfflineStore(folder), frame_of(timeline)
    for start in range(0, len(frame), max(1, -(-len(frame) // batches))):
        store.write(view, frame.slice(start, max(1, -(-len(frame) // batches))))
    return store


@settings(max_examples=30, deadline=None)
@given(rows, labels, ttls, st.integers(1, 4), st.booleans())
def test_the_join_is_the_rule_by_hand(
    timeline: list[Row], wanted: list[Label], ttl: int | None, batches: int, compacted: bool
) -> None:
    view = view_of(ttl)
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder), view, timeline, batches)
        if compacted:
            store.compact(view)
        found = get_historical_features(store, asked(wanted), FeatureService.of("model", [view]))
    assert found["place"].to_list() == list(range(len(wanted)))
    expected = [by_hand(timeline, label, ttl) for label in wanted]
    assert list(zip(found["stats__value"], found["stats__number"], strict=True)) == expected
    missing = [number == -2 for _, number in expected]
    assert found["stats__event_time"].is_null().to_list() == missing


@settings(max_examples=20, deadline=None)
@given(rows, labels, ttls)
def test_the_join_is_duckdbs_asof_join(timeline: list[Row], wanted: list[Label], ttl: int | None) -> None:
    """On rows that are known at once, and the last written of those with equal times: what ASOF knows of."""
    once = {(row.item, row.event): Row(row.item, row.event, 0, row.value) for row in timeline}
    view, kept = view_of(ttl), list(once.values())
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder), view, kept, 2)
        found = get_historical_features(store, asked(wanted), FeatureService.of("model", [view]))
    # duckdb has no date in UTC without an extension: microseconds do
    right = frame_of(kept).with_columns(pl.col("event_time").to_physical()).drop("created_time")  # noqa: F841
    left = asked(wanted).with_columns(pl.col("request_time").to_physical())  # noqa: F841
    limit = 2**60 if ttl is None else ttl * STEP // timedelta(microseconds=1)
    expected = duckdb.sql(
        f"""
        select case when request_time - event_time <= {limit} then coalesce(value, -1) else -1 end as value,
               case when request_time - event_time <= {limit} then number else -2 end as number
        from "left" asof left join "right"
          on "left".item_id = "right".item_id and "left".request_time >= "right".event_time
        order by place
        """
    ).fetchall()
    assert list(zip(found["stats__value"], found["stats__number"], strict=True)) == expected


@settings(max_examples=20, deadline=None)
@given(rows, labels, ttls)
def test_a_request_sees_what_training_sees(timeline: list[Row], wanted: list[Label], ttl: int | None) -> None:
    """Rows arrive online when they are created, requests come between them, and both stores tell the same."""
    view = view_of(ttl)
    service = FeatureService.of("model", [view])
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder) / "offline", view, timeline, 1)
        history = get_historical_features(store, asked(wanted), service)
        online = LmdbStore(Path(folder) / "online")
        arriving = frame_of(timeline)
        served: dict[int, tuple[float, int]] = {}
        for tick in range(21):
            arrived = arriving.filter(pl.col("created_time") == START + tick * STEP)
            for one in arrived.iter_slices(1):
                online.put_many(view, *pack(view, one))
            for place, label in enumerate(wanted):
                if label.time == tick:
                    now = int((START + tick * STEP).timestamp() * 1_000_000)
                    answer = get_online_features(online, service, {"item_id": [label.item]}, now_us=now)
                    value, number = answer.values["stats__value"][0], answer.values["stats__number"][0]
                    served[place] = float(value), int(number)
                    assert answer.present["stats"][0] == (number != -2)
        online.close()
    expected = list(zip(history["stats__value"], history["stats__number"], strict=True))
    assert [served[place] for place in range(len(wanted))] == expected


@settings(max_examples=8, deadline=None)
@given(rows, labels, st.integers(1, 4))
def test_labels_in_chunks_are_labels_at_once(timeline: list[Row], wanted: list[Label], chunk: int) -> None:
    view = view_of(TTL)
    service = FeatureService.of("model", [view])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = written(folder / "offline", view, timeline, 3)
        asked(wanted).write_parquet(folder / "labels.parquet")
        count = write_historical_features(store, folder / "labels.parquet", service, folder / "out", chunk)
        assert count == len(wanted)
        parts = sorted((folder / "out").glob("*.parquet"))
        at_once = get_historical_features(store, asked(wanted), service)
        in_chunks = pl.concat([pl.read_parquet(part) for part in parts]) if parts else at_once
    assert in_chunks.equals(at_once)


@pytest.mark.parametrize(
    ("event", "now", "ttl", "expected"),
    [
        (10, 10, 0, True),
        (10, 15, 5, True),  # the last instant counts
        (10, 16, 5, False),
        (10, 9, 5, False),  # the future never does
        (10, 10**15, None, True),
        (NEVER, 10, None, False),
        (NEVER, 4, 5, False),  # and not because -1 is within the TTL of 4
    ],
)
def test_what_counts(event: int, now: int, ttl: int | None, expected: bool) -> None:
    assert counts(np.array([event]), now, ttl).tolist() == [expected]


def test_states_leave_out_what_arrived_too_late_to_matter() -> None:
    arriving = pl.DataFrame(
        {
            "item_id": ["a", "a", "b", "a"],
            "event_time": [10, 8, 1, 12],
            "created_time": [10, 11, 11, 12],
            "value": [1, 2, 3, 4],
        }
    )
    assert online_states(arriving, ["item_id"])["value"].to_list() == [1, 3, 4]


def test_two_keys_one_of_them_a_number(tmp_path: Path) -> None:
    view = FeatureView(name="affinity", entities=(USER, ITEM), fields=(Field(name="score"),))
    store = OfflineStore(tmp_path)
    rows = {"user_id": [1, 12, 1], "item_id": ["2", "", "3"], "event_time": [at(0)] * 3, "score": [0.5, 0.25, 0.125]}
    store.write(view, pl.DataFrame(rows).filter(pl.col("item_id") != ""))
    wanted = {"user_id": [1, 12, 1, None], "item_id": ["3", "2", "2", "2"], "request_time": [at(1)] * 4}
    found = get_historical_features(store, pl.DataFrame(wanted), FeatureService.of("model", [view]))
    assert found["affinity__score"].fill_nan(None).to_list() == [0.125, None, 0.5, None]
