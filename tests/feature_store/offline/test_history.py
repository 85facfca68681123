from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.definitions import Field
from feature_store.exceptions import RequestError
from feature_store.offline import history
from feature_store.offline.history import get_historical_features, write_historical_features
from feature_store.offline.store import OfflineStore
from feature_store.service import FeatureService
from feature_store.transforms import on_demand
from tests.feature_store.declared import DAY, START, at, item_rows, item_view

VIEW = item_view()
SERVICE = FeatureService.of("model", [VIEW])


def labels_of(*rows: tuple[str, float]) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [item for item, _ in rows], "request_time": [at(second) for _, second in rows]})


@pytest.fixture
def store(tmp_path: Path) -> OfflineStore:
    """Rows of 40 items over six days, some created late, in three writes."""
    store, chance = OfflineStore(tmp_path / "offline"), np.random.default_rng(0)
    for _ in range(3):
        seconds = chance.integers(0, 6 * 86_400, 300)
        rows = item_rows(
            *(
                (f"i{item}", at(int(second)), float(ctr), int(item), None)
                for item, second, ctr in zip(chance.integers(0, 40, 300), seconds, chance.random(300), strict=True)
            )
        )
        delay = pl.duration(seconds=pl.Series(chance.choice([0, 0, 90_000], 300)))
        store.write(VIEW, rows.with_columns(created_time=pl.col("event_time") + delay))
    return store


def test_reading_only_the_rows_of_the_labels_changes_nothing(
    store: OfflineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(1)
    labels = labels_of(*((f"i{item}", int(second)) for item, second in chance.integers(0, [50, 7 * 86_400], (60, 2))))
    everything = get_historical_features(store, labels, SERVICE)
    monkeypatch.setattr(history, "CHUNK_ROWS", 1)
    assert get_historical_features(store, labels, SERVICE).equals(everything)
    assert 10 < everything["item_stats__event_time"].null_count() < 50  # there was both


def test_labels_keep_their_columns_order_and_repetitions(store: OfflineStore) -> None:
    labels = labels_of(("i3", 5 * 86_400), ("i1", 86_400), ("i3", 5 * 86_400)).with_columns(
        note=pl.Series(["x", "y", "z"])
    )
    found = get_historical_features(store, labels, SERVICE)
    assert found.select(labels.columns).equals(labels)
    assert found.drop("note").row(0) == found.drop("note").row(2)


def test_no_labels_and_no_rows(tmp_path: Path, store: OfflineStore) -> None:
    none = get_historical_features(store, labels_of(("i1", 0)).clear(), SERVICE)
    assert none.shape == (0, 6)
    empty = get_historical_features(OfflineStore(tmp_path / "empty"), labels_of(("i1", 0)), SERVICE)
    assert empty["item_stats__clicks"].to_list() == [-1]
    assert empty["item_stats__cover"].to_list() == [[0, 0, 0]]


def test_files_of_labels_come_out_in_their_order(tmp_path: Path, store: OfflineStore) -> None:
    chance = np.random.default_rng(2)
    (tmp_path / "labels").mkdir()
    parts = []
    for number in range(3):
        drawn = chance.integers(0, [50, 7 * 86_400], (25, 2))
        parts.append(labels_of(*((f"i{item}", int(second)) for item, second in drawn)))
        parts[-1].write_parquet(tmp_path / "labels" / f"part-{number}.parquet")
    count = write_historical_features(store, tmp_path / "labels", SERVICE, tmp_path / "out", chunk_rows=10)
    found = pl.concat([pl.read_parquet(file) for file in sorted((tmp_path / "out").glob("*.parquet"))])
    assert count == 75
    assert found.equals(get_historical_features(store, pl.concat(parts), SERVICE))
    with pytest.raises(RequestError, match="exists"):
        write_historical_features(store, tmp_path / "labels", SERVICE, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda labels: labels.drop("item_id"), "no column item_id"),
        (lambda labels: labels.drop("request_time"), "no column request_time"),
        (lambda labels: labels.with_columns(item_stats__ctr=1), "item_stats__ctr already"),
        (lambda labels: labels.with_columns(request_time=pl.lit(5)), "request_time is Int32"),
        (lambda labels: labels.with_columns(request_time=pl.lit(None, pl.Datetime)), "1 nulls"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(
    store: OfflineStore, spoil: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        get_historical_features(store, spoil(labels_of(("i1", 0))), SERVICE)


def test_a_transform_that_returns_another_shape_is_refused(store: OfflineStore) -> None:
    @on_demand(["item_stats__ctr"], Field(name="broken"))
    def broken(ctr: np.ndarray) -> np.ndarray:
        return ctr[:1]

    service = FeatureService.of("model", [VIEW], [broken])
    with pytest.raises(RequestError, match=r"broken returned shape \(1,\) for 2 rows"):
        get_historical_features(store, labels_of(("i1", 0), ("i2", 0)), service)


def test_a_leak_is_impossible_by_the_created_time(tmp_path: Path) -> None:
    """A daily aggregate that is computed at night is not seen by the labels of its own day."""
    store = OfflineStore(tmp_path)
    rows = item_rows(("a", START, 0.25, 1, None))
    store.write(VIEW, rows.with_columns(created_time=pl.lit(START + DAY).dt.cast_time_unit("us")))
    labels = labels_of(("a", 86_399), ("a", 86_400))
    assert get_historical_features(store, labels, SERVICE)["item_stats__clicks"].to_list() == [-1, 1]
