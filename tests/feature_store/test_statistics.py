from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.definitions import Field
from feature_store.statistics import drift, statistics_of
from feature_store.store import FeatureStore
from tests.feature_store.declared import START, item_view

NUMBER = Field(name="number", dtype="float64")


def test_statistics_are_numpys() -> None:
    values = np.random.default_rng(0).normal(3, 2, 5000)
    found = statistics_of(NUMBER, pl.Series([*values, None]))
    assert (found.rows, found.nulls, found.distinct) == (5001, 1, 5000)
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std())
    np.testing.assert_allclose(found.deciles, np.quantile(values, np.arange(11) / 10))
    np.testing.assert_allclose(found.shares, 0.1, atol=1e-3)
    assert list(found.histogram) == np.histogram(values, 20)[0].tolist()


def test_vectors_are_judged_by_their_lengths() -> None:
    vectors = np.array([[3, 4, 0], [0, 0, 1]], np.float16)
    found = statistics_of(
        Field(name="cover", dtype="float16", shape=(3,)), pl.Series(vectors, dtype=pl.Array(pl.Float16, 3))
    )
    assert (found.mean, found.low, found.high, found.distinct) == (3.0, 0.0, 4.0, None)


def test_nothing_but_nulls_is_not_an_error() -> None:
    found = statistics_of(NUMBER, pl.Series([None, None], dtype=pl.Float64))
    assert (found.nulls, found.mean, found.histogram) == (2, None, ())


def test_drift_is_the_stability_index() -> None:
    """Half of the lowest decile moved to the highest: ``.05 ln(.05 / .1) + .05 ln(.15 / .1)``, with the right signs."""
    before = np.arange(1000.0)
    after = np.concatenate([np.arange(50.0), np.arange(100.0, 1000.0), np.full(50, 999.0)])
    index = drift(NUMBER, pl.Series(after), statistics_of(NUMBER, pl.Series(before)))
    assert index == pytest.approx(0.05 * np.log(2) + 0.05 * np.log(1.5), rel=0.02)
    assert drift(NUMBER, pl.Series(before), statistics_of(NUMBER, pl.Series(before))) == pytest.approx(0, abs=1e-9)


def test_drift_of_a_column_of_few_values_compares_their_shares() -> None:
    before, same, other = ([0.0] * zeros + [1.0] * (1000 - zeros) for zeros in (900, 890, 300))
    known = statistics_of(NUMBER, pl.Series(before))
    assert drift(NUMBER, pl.Series(same), known) < 0.01
    assert drift(NUMBER, pl.Series(other), known) > 1


def test_the_page_shows_a_histogram_of_each_field_and_fetches_nothing(tmp_path: Path) -> None:
    store, view = FeatureStore(tmp_path), item_view(description="<b>counts</b> of an item", owner="feed")
    store.apply([view])
    assert "No view has been written yet" in store.statistics_page()
    clicks = np.arange(2000) % 40
    rows = {
        "item_id": [f"i{n}" for n in range(2000)],
        "event_time": [START] * 2000,
        "ctr": clicks / 40,
        "clicks": clicks,
    }
    store.write(view, pl.DataFrame(rows).with_columns(cover=pl.lit([0.0, 3.0, 4.0], pl.Array(pl.Float16, 3))))
    page = store.statistics_page()
    tags: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))  # type: ignore[method-assign]
    parser.feed(page)
    heights = [float(attributes["height"] or 0) for tag, attributes in tags if tag == "rect"]
    assert len(heights) == 3 * 20
    assert heights[20:40] == [1.0] * 20  # clicks are spread evenly
    assert sum(heights[40:]) == 1.0  # all vectors have length 5
    assert "&lt;b&gt;counts&lt;/b&gt; of an item" in page
    assert "//" not in page.replace("<!doctype html>", "")
    assert not any(name in ("src", "href") for _, attributes in tags for name in attributes)
    store.close()
