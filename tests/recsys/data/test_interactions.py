from datetime import UTC, datetime

import numpy as np
import polars as pl

from recsys import schemas
from recsys.data.dataset import TABLES
from recsys.data.interactions import Interactions
from recsys.types import IdMap

ITEMS = IdMap.of(["a", "b", "c", "d"])
SCHEMA = pl.DataFrame(pl.from_arrow(TABLES["events"].empty_table())).schema


def events(*rows, timed=True):
    """Events from (user, item, event_type, second or order)."""
    return pl.DataFrame(
        [
            {
                schemas.USER_ID: user,
                schemas.ITEM_ID: item,
                schemas.EVENT_TYPE: action,
                schemas.TIMESTAMP: datetime.fromtimestamp(moment, UTC) if timed else None,
                schemas.ORDER: None if timed else moment,
            }
            for user, item, action, moment in rows
        ],
        schema={name: SCHEMA[name] for name in ("user_id", "item_id", "event_type", "timestamp", "order")},
    )


EVENTS = events(
    ("v", "b", "click", 7),
    ("u", "c", "like", 9),
    ("u", "a", "impression", 1),
    ("u", "a", "click", 2),
    ("u", "a", "share", 8),  # same pair: first moment 2, strongest action
    ("u", "d", "hide", 3),
    ("u", "b", "click", 5),
    ("w", "z", "click", 4),  # not in the catalogue
)


def test_pairs_once_at_their_first_moment_with_their_strongest_action():
    found = Interactions.of(EVENTS, ITEMS)
    assert list(found.users_map) == ["u", "v", "w"]
    assert found.users.tolist() == [0, 0, 0, 1]
    assert found.items.tolist() == [0, 1, 2, 1]
    assert found.times.tolist() == [2000, 5000, 9000, 7000]
    assert found.weights.tolist() == [4.0, 1.0, 2.0, 1.0]


def test_order_stands_in_for_time():
    found = Interactions.of(events(("u", "b", "click", 1), ("u", "a", "click", 0), timed=False), ITEMS)
    assert found.items.tolist() == [0, 1]
    assert found.times.tolist() == [0, 1]


def test_only_the_users_of_the_given_map_are_kept():
    found = Interactions.of(EVENTS, ITEMS, IdMap.of(["v", "nobody"]))
    assert (found.users.tolist(), found.items.tolist()) == ([0], [1])
    assert [row.tolist() for row in found.histories()] == [[1], []]


def test_histories_and_counts():
    found = Interactions.of(EVENTS, ITEMS)
    assert [found.histories()[user].tolist() for user in range(3)] == [[0, 1, 2], [1], []]
    assert found.histories().users.tolist() == [0, 1, 2]
    assert found.item_counts().tolist() == [1, 2, 1, 0]
    assert found.where(found.weights > 1).items.tolist() == [0, 2]


def test_histories_before_a_moment_hold_only_what_came_strictly_before():
    found = Interactions.of(EVENTS, ITEMS)
    users = np.array([0, 0, 0, 1, 2, 0], dtype=np.int32)
    times = np.array([2000, 5001, 99_000, 7000, 99_000, 9000])
    before = found.histories_before(users, times, last=2)
    assert [before[request].tolist() for request in range(6)] == [[], [0, 1], [1, 2], [], [], [0, 1]]
    assert before.weights.tolist() == [4.0, 1.0, 1.0, 2.0, 4.0, 1.0]
    assert before.users.tolist() == [0, 0, 0, 1, 2, 0]


def test_histories_before_agree_with_a_plain_search_on_random_events():
    generator = np.random.default_rng(0)
    rows = [
        (f"u{generator.integers(20)}", str(generator.integers(50)), "click", int(generator.integers(100)))
        for _ in range(500)
    ]
    found = Interactions.of(events(*rows, timed=False), IdMap.of(map(str, range(50))))
    users = generator.integers(20, size=200).astype(np.int32)
    times = generator.integers(100, size=200)
    before = found.histories_before(users, times, last=5)
    for request, (user, time) in enumerate(zip(users, times, strict=True)):
        assert before[request].tolist() == found.items[(found.users == user) & (found.times < time)][-5:].tolist()
