"""The log says what the truth makes it say: position bias, preference, time and popularity can be recovered from it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.data.splits import SplitConfig, split_events
from recsys.data.world import World, WorldConfig
from recsys.data.world.behaviour import examination
from recsys.data.world.clock import DAY_MS, START_MS
from recsys.retrieval.base import top_unseen

TIME_MS = pl.col(schemas.TIMESTAMP).dt.epoch("ms")
KEYS = [schemas.REQUEST_ID, schemas.USER_ID, schemas.ITEM_ID, schemas.POSITION]


@pytest.fixture(scope="module")
def world() -> World:
    return World.draw(WorldConfig(n_items=1000, n_users=500, n_authors=100, n_requests=5000))


@pytest.fixture(scope="module")
def events(world: World) -> pl.DataFrame:
    return world.events()


@pytest.fixture(scope="module")
def feed(world: World, events: pl.DataFrame) -> pl.DataFrame:
    """Impressions of the feed with the true ``preference`` at that time and whether they were ``clicked``."""
    shown = of_type(events, schemas.IMPRESSION).filter(pl.col(schemas.SCENE) == "feed")
    shown = shown.with_columns(day=(TIME_MS - START_MS) // DAY_MS)
    users, items = world.truth.users.rows(shown[schemas.USER_ID]), world.truth.items.rows(shown[schemas.ITEM_ID])
    preference = np.empty(len(shown), np.float32)
    for day in shown["day"].unique():
        inside = shown["day"].to_numpy() == day
        present, row = np.unique(users[inside], return_inverse=True)
        table = world.truth.preference(world.truth.users.externals(present), START_MS + day * DAY_MS)
        preference[inside] = table[row, items[inside]]
    clicks = of_type(events, schemas.CLICK).select(*KEYS, clicked=pl.lit(1.0))
    return (
        shown.with_columns(preference=preference)
        .join(clicks, on=KEYS, how="left")
        .with_columns(pl.col("clicked").fill_null(0.0))
    )


def of_type(events: pl.DataFrame, event_type: str) -> pl.DataFrame:
    return events.filter(pl.col(schemas.EVENT_TYPE) == event_type)


def test_position_bias_can_be_recovered(feed: pl.DataFrame) -> None:
    by_position = feed.group_by(schemas.POSITION).agg(pl.col("clicked", "preference").sum()).sort(schemas.POSITION)
    measured = (by_position["clicked"] / by_position["preference"]).to_numpy()
    np.testing.assert_allclose(measured, examination(np.arange(10)), atol=0.05)
    slope = np.polyfit(np.log1p(np.arange(10)), np.log(measured), 1)[0]
    assert slope == pytest.approx(-0.6, abs=0.08)


def test_clicks_follow_the_true_preference(feed: pl.DataFrame) -> None:
    examined = examination(feed[schemas.POSITION].to_numpy())
    order = np.argsort(feed["preference"].to_numpy())
    clicked, expected = feed["clicked"].to_numpy()[order], (feed["preference"].to_numpy() * examined)[order]
    measured = np.array([part.mean() for part in np.array_split(clicked, 10)])
    np.testing.assert_allclose(measured, [part.mean() for part in np.array_split(expected, 10)], atol=0.02)
    assert (np.diff(measured) > -0.01).all()
    assert measured[-1] > 8 * measured[0]


def test_stronger_actions_mark_stronger_preference(feed: pl.DataFrame, events: pl.DataFrame) -> None:
    def mean_preference(event_type: str) -> float:
        return float(feed.join(of_type(events, event_type).select(KEYS), on=KEYS, how="semi")["preference"].mean())

    assert mean_preference("hide") < float(feed["preference"].mean()) < mean_preference("click")
    assert mean_preference("click") < mean_preference("like")
    dwell = feed.join(of_type(events, "dwell").select(*KEYS, seconds=schemas.VALUE), on=KEYS)
    assert np.corrcoef(dwell["preference"], np.log(dwell["seconds"]))[0, 1] > 0.15


def test_nothing_is_shown_before_it_exists_nor_to_someone_who_has_not_joined(
    world: World, events: pl.DataFrame
) -> None:
    times = events.select(TIME_MS).to_series().to_numpy()
    assert (world.truth.created_at[world.truth.items.rows(events[schemas.ITEM_ID])] <= times).all()
    assert (world.people.joined_at[world.truth.users.rows(events[schemas.USER_ID])] <= times).all()


def test_every_action_belongs_to_an_impression_and_comes_after_it(events: pl.DataFrame) -> None:
    shown = of_type(events, schemas.IMPRESSION).select(*KEYS, shown_at=schemas.TIMESTAMP)
    acted = events.filter(pl.col(schemas.EVENT_TYPE) != schemas.IMPRESSION)
    joined = acted.join(shown, on=KEYS, how="inner")
    assert len(joined) == len(acted)
    assert (joined[schemas.TIMESTAMP] > joined["shown_at"]).all()


def test_everything_but_a_hide_needs_a_click_and_no_note_is_clicked_twice(events: pl.DataFrame) -> None:
    clicks = of_type(events, schemas.CLICK).select(*KEYS, clicked_at=schemas.TIMESTAMP)
    after = events.filter(~pl.col(schemas.EVENT_TYPE).is_in([schemas.IMPRESSION, schemas.CLICK, "hide"]))
    joined = after.join(clicks, on=KEYS, how="inner")
    assert len(joined) == len(after)
    assert (joined[schemas.TIMESTAMP] > joined["clicked_at"]).all()
    assert not clicks.select(schemas.USER_ID, schemas.ITEM_ID).is_duplicated().any()
    assert of_type(events, "hide").join(clicks, on=KEYS, how="semi").is_empty()


def test_a_reader_finishes_one_slate_before_the_next(events: pl.DataFrame) -> None:
    spans = events.group_by(schemas.USER_ID, schemas.REQUEST_ID).agg(
        pl.col(schemas.TIMESTAMP).min().alias("begin"), pl.col(schemas.TIMESTAMP).max().alias("end")
    )
    spans = spans.sort(schemas.USER_ID, "begin")
    followed = spans.with_columns(next=pl.col("begin").shift(-1).over(schemas.USER_ID)).drop_nulls("next")
    assert (followed["end"] < followed["next"]).all()


def test_slates_are_whole_and_search_slates_name_their_query(world: World, events: pl.DataFrame) -> None:
    shown = of_type(events, schemas.IMPRESSION)
    slates = shown.group_by(schemas.REQUEST_ID).agg(
        pl.col(schemas.POSITION).sort(), pl.col(schemas.ITEM_ID).n_unique().alias("different")
    )
    assert slates[schemas.POSITION].to_list() == [list(range(10))] * len(slates)
    assert (slates["different"] == 10).all()
    assert shown[schemas.PROPENSITY].is_between(0, 1, closed="right").all()
    searched = (events[schemas.SCENE] == "search").to_numpy()
    assert (events[schemas.QUERY].is_not_null().to_numpy() == searched).all()
    assert set(events[schemas.QUERY].drop_nulls()) <= {search.text for search in world.searches}
    assert 0.08 < searched.mean() < 0.16


def test_popularity_and_activity_are_long_tailed(world: World, events: pl.DataFrame) -> None:
    def gini(counts: np.ndarray) -> float:
        ordered = np.sort(counts)
        return float(1 - 2 * (np.cumsum(ordered) / ordered.sum()).mean() + 1 / len(ordered))

    clicks = of_type(events, schemas.CLICK)
    assert gini(np.bincount(world.truth.items.rows(clicks[schemas.ITEM_ID]), minlength=1000)) > 0.4
    assert gini(np.bincount(world.truth.users.rows(clicks[schemas.USER_ID]), minlength=500)) > 0.4


def test_tastes_drift_from_the_first_to_the_last_day(world: World) -> None:
    truth, end_ms = world.truth, START_MS + world.config.n_days * DAY_MS
    everyone = np.arange(len(world.people))
    first, middle, last = (truth.tastes(everyone, time) for time in (START_MS, (START_MS + end_ms) // 2, end_ms))
    np.testing.assert_array_equal(first, world.people.start)
    np.testing.assert_allclose(last, world.people.end, atol=1e-6)
    np.testing.assert_allclose(middle, (world.people.start + world.people.end) / 2, atol=1e-6)
    assert 0.5 < np.corrcoef(first.ravel(), last.ravel())[0, 1] < 0.95


def test_each_modality_knows_part_of_a_taste_and_both_know_more(world: World, events: pl.DataFrame) -> None:
    """Perfect knowledge of what texts say, of what pictures show, and of both, against popularity and the oracle."""
    truth, split = world.truth, split_events(events, SplitConfig())
    past = Interactions.of(split.before_test, truth.items)
    future = Interactions.of(split.test, truth.items, past.users_map)
    histories = past.histories()

    def recall(scores: np.ndarray) -> float:
        top = top_unseen(scores.astype(np.float32), histories, 20, "test").rows  # 2% of the catalogue
        held_out = [np.setdiff1d(new, old) for new, old in zip(future.histories(), past.histories(), strict=True)]
        return float(np.mean([np.isin(new, top[user]).mean() for user, new in enumerate(held_out) if len(new)]))

    def by_content(*names: str) -> float:
        features = truth.one_hot(names)
        features = (features - features.mean(0)) / np.sqrt(features.std(0) + 1e-6)
        profiles = np.zeros((len(histories), features.shape[1]), np.float32)
        np.add.at(profiles, past.users, features[past.items])
        return recall(profiles @ features.T)

    popularity = recall(np.tile(past.item_counts(), (len(histories), 1)))
    text, image = by_content("topic", "subtopic", "intent"), by_content("style", "palette")
    both = by_content("topic", "subtopic", "intent", "style", "palette")
    oracle = recall(truth.preference(list(past.users_map), split.test_from))
    assert min(text, image) > 1.2 * popularity
    assert both > 1.3 * max(text, image)
    assert oracle > 1.3 * both
