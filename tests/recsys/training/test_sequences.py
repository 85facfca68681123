from __future__ import annotations

import numpy as np

from recsys.data.interactions import Interactions
from recsys.training.sequences import NEVER, Sequences
from recsys.types import NO_ROW, IdMap


def sequences(lists: list[list[int]], last: int, n_items: int = 40) -> Sequences:
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists]).astype(np.int32)
    items = np.concatenate([np.asarray(items, np.int32) for items in lists])
    maps = IdMap.of(map(str, range(n_items))), IdMap.of(map(str, range(len(lists))))
    weights = (1 + items % 4).astype(np.float32)
    return Sequences(Interactions(*maps, users, items, np.arange(len(items)), weights), last, seed=0)


def test_each_target_is_what_followed_and_padding_stands_at_the_end() -> None:
    made = sequences([[5, 6, 7], [], [9], list(range(10, 30))], last=4)
    assert len(made) == 2
    for step in range(30):
        batch = made.draw(step, 6)
        assert batch.items.shape == batch.targets.shape == batch.strengths.shape
        for user, items, targets in zip(batch.users, batch.items, batch.targets, strict=True):
            real = targets != NO_ROW
            assert (items[~real] == NO_ROW).all()
            assert real[: real.sum()].all()
            if user == 0:
                assert (items[real].tolist(), targets[real].tolist()) == ([5, 6], [6, 7])
            else:
                assert user == 3
                assert len(targets[real]) == 4
                assert (targets[real] - items[real] == 1).all()
        strength = batch.strengths[batch.items != NO_ROW]
        assert (strength == batch.items[batch.items != NO_ROW] % 4).all()


def test_long_histories_are_drawn_more_often_and_every_stretch_of_them() -> None:
    made = sequences([[1, 2, 3], list(range(10, 19))], last=4)  # one stretch, and two
    batches = [made.draw(step, 10) for step in range(200)]
    users = np.concatenate([batch.users for batch in batches])
    assert abs((users == 1).mean() - 2 / 3) < 0.04
    starts = np.concatenate([batch.items[batch.users == 1, 0] for batch in batches])
    assert set(starts.tolist()) == {10, 11, 12, 13, 14}


def test_a_step_has_its_own_batch_whoever_asks() -> None:
    one, two = (sequences([list(range(20)), list(range(20, 40))], last=5) for _ in range(2))
    two.draw(0, 3)
    np.testing.assert_array_equal(one.draw(7, 8).items, two.draw(7, 8).items)
    assert not np.array_equal(one.draw(7, 8).items, one.draw(8, 8).items)


def test_places_tell_how_much_came_before_an_engagement() -> None:
    made = sequences([[3, 1], [], [39]], last=2)
    found = made.places(np.array([0, 1, 2], np.int32), np.array([0, 1, 3, 39], np.int32))
    assert found.tolist() == [[NEVER, 1, 0, NEVER], [NEVER] * 4, [NEVER, NEVER, NEVER, 0]]


def test_the_place_of_a_target_is_where_the_user_met_it() -> None:
    made = sequences([list(range(10, 30)), [7, 5, 6]], last=4)
    batch = made.draw(3, 20)
    for user, targets, places in zip(batch.users, batch.targets, batch.places, strict=True):
        real = targets != NO_ROW
        np.testing.assert_array_equal(made.places(np.array([user], np.int32), targets[real])[0], places[real])
