from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.batch_checks import Conformed, file_schema
from feature_store.definitions import FeatureView, Field
from feature_store.exceptions import QuarantinedError
from feature_store.offline.store import OfflineStore
from tests.feature_store.declared import ITEM, START, at, item_rows, item_view

VIEW = item_view()
GOOD = item_rows(("a", at(0), 0.5, 7, [1, 2, 3]), ("b", at(1), None, None, None))


def reasons(batch: pl.DataFrame, view: FeatureView = VIEW) -> list[str]:
    return Conformed(view, batch, {}).reasons


def test_a_good_batch_has_the_declared_columns_and_was_created_at_its_event() -> None:
    conformed = Conformed(VIEW, GOOD.select(pl.all().reverse().reverse()), {})
    assert conformed.reasons == []
    assert dict(conformed.rows.schema) == file_schema(VIEW)
    assert conformed.rows["created_time"].to_list() == [at(0), at(1)]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda rows: rows.drop("ctr"), "column ctr is missing"),
        (lambda rows: rows.with_columns(ctrs=0.1), "column ctrs is not declared"),
        (lambda rows: rows.clear(), "there are no rows"),
        (lambda rows: rows.with_columns(ctr=pl.lit("0.5")), "ctr is String where Float32 is declared"),
        (lambda rows: rows.with_columns(clicks=pl.lit(1.5)), "clicks is Float64 where Int32 is declared"),
        (lambda rows: rows.with_columns(clicks=pl.lit(2**40)), "clicks is Int64 and does not fit into Int32"),
        (lambda rows: rows.with_columns(cover=pl.Series([[1.0, 2.0]] * 2)), "does not fit into Array"),
        (lambda rows: rows.with_columns(ctr=pl.lit(1.5)), "ctr is 1.5, above 1.0"),
        (lambda rows: rows.with_columns(ctr=pl.lit(-0.25)), "ctr is -0.25, below 0.0"),
        (lambda rows: rows.with_columns(item_id=pl.lit(None, pl.String)), "item_id is null in 2 rows"),
        (lambda rows: rows.with_columns(item_id=pl.lit("")), "item_id is empty in 2 rows"),
        (lambda rows: rows.with_columns(item_id=pl.lit("a\x00b")), "item_id holds a zero byte"),
        (lambda rows: rows.with_columns(item_id=pl.lit("é" * 251)), "a key is 502 bytes long"),
        (lambda rows: rows.with_columns(event_time=pl.lit(None)), "event_time is null in 2 rows"),
        (lambda rows: rows.with_columns(event_time=pl.lit("today")), "event_time is String where"),
        (lambda rows: rows.with_columns(created_time=pl.lit(at(0))), "1 rows were created before their event time"),
        (lambda rows: rows.with_columns(event_time=pl.lit(-1).cast(pl.Datetime("us", "UTC"))), "before 1970"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[pl.DataFrame], pl.DataFrame], reason: str) -> None:
    assert any(reason in found for found in reasons(spoil(GOOD))), reasons(spoil(GOOD))


def test_times_of_other_units_and_without_zone_are_utc() -> None:
    naive = GOOD.with_columns(pl.col("event_time").dt.replace_time_zone(None).dt.cast_time_unit("ms"))
    zoned = GOOD.with_columns(pl.col("event_time").dt.convert_time_zone("Asia/Shanghai"))
    for batch in (naive, zoned):
        assert Conformed(VIEW, batch, {}).rows["event_time"].to_list() == [at(0), at(1)]


def test_nan_is_missing_and_a_vector_with_one_is_missing_as_a_whole() -> None:
    batch = item_rows(("a", at(0), float("nan"), 1, [1.0, float("nan"), 3.0]), ("b", at(0), 0.5, 1, [1, 2, 3]))
    rows = Conformed(VIEW, batch, {}).rows
    assert rows["ctr"].to_list() == [None, 0.5]
    assert rows["cover"].to_list() == [None, [1, 2, 3]]


def checked(**checks: float) -> FeatureView:
    return FeatureView(name="checked", entities=(ITEM,), fields=(Field(name="value", dtype="float64", **checks),))


def batch_of(values: np.ndarray) -> pl.DataFrame:
    items = [f"i{place}" for place in range(len(values))]
    return pl.DataFrame({"item_id": items, "event_time": [START] * len(items), "value": values})


def test_nulls_and_cardinality_are_bounded() -> None:
    values = np.array([1.0, 2.0, np.nan, 2.0])
    assert reasons(batch_of(values), checked(max_null_share=0.25)) == []
    assert reasons(batch_of(values), checked(max_null_share=0.2)) == [
        "value is missing in 25.0% of the rows, 20.0% are allowed"
    ]
    assert reasons(batch_of(values), checked(max_distinct=2)) == []
    assert reasons(batch_of(values), checked(max_distinct=1)) == ["value has 2 different values, 1 are allowed"]


def test_drift_against_the_batch_before_is_refused(tmp_path: Path) -> None:
    view, store, normal = checked(max_drift=0.2), OfflineStore(tmp_path), np.random.default_rng(0).standard_normal
    store.write(view, batch_of(normal(5000)))
    store.write(view, batch_of(normal(5000)))  # the same again
    with pytest.raises(QuarantinedError, match=r"value has drifted .* 0.2 is allowed"):
        store.write(view, batch_of(normal(5000) + 0.6))
    store.write(view, batch_of(normal(900) + 5))  # too few to judge
    assert sum(file.rows for file in store.files(view)) == 10_900


def test_a_refused_batch_is_kept_with_the_reasons_and_nothing_of_it_is_visible(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    store.write(VIEW, GOOD)
    with pytest.raises(QuarantinedError) as caught:
        store.write(VIEW, GOOD.with_columns(ctr=pl.lit(7.0)))
    assert caught.value.reasons == ("ctr is 7, above 1.0",)
    assert store.log(VIEW).last == 1
    (name, text) = next(iter(store.quarantined(VIEW).items()))
    assert text == "ctr is 7, above 1.0"
    assert pl.read_parquet(caught.value.path / f"{name}.parquet")["ctr"].to_list() == [7, 7]
