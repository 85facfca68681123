from collections import Counter

import numpy as np
import pytest
from scipy import stats

from experiments.exceptions import InputError
from experiments.interleaving.interleaved import Interleaved
from experiments.interleaving.optimized import distribution, optimized
from experiments.interleaving.probabilistic import probabilistic
from experiments.interleaving.team_draft import team_draft
from experiments.interleaving.verdict import verdict

METHODS = [team_draft, probabilistic, optimized]
A, B = list("abcdefgh"), list("badchgfe")


@pytest.mark.parametrize("method", METHODS)
def test_lists_hold_each_item_once_and_as_many_as_asked(method):
    g = np.random.default_rng(0)
    for _ in range(200):
        a, b = [list(map(str, g.permutation(12)[:9])) for _ in "ab"]
        shown = method(a, b, 6, g)
        assert len(set(shown.items)) == len(shown.items) == len(shown.credits) == 6
        assert set(shown.items) <= set(a) | set(b)


@pytest.mark.parametrize("method", [team_draft, probabilistic])
def test_a_blind_reader_prefers_neither(method):
    """Whoever clicks on a place whatever stands there must come out at zero, place by place."""
    g = np.random.default_rng(1)
    credits = np.array([method(A, B, 5, g).credits for _ in range(4000)])
    for column in credits.T:
        assert stats.ttest_1samp(column, 0).pvalue > 1e-3 or not column.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_reader_who_wants_what_b_ranks_higher_prefers_b(method):
    g = np.random.default_rng(2)
    b = ["h", *list("abcdefg")]
    shown = [method(A, b, 4, g) for _ in range(300)]
    found = verdict([each.preference([item for item in each.items if item == "h"]) for each in shown])
    assert found.low > 0
    assert found.wins_b > found.wins_a
    assert found.share_b > 0.5


@pytest.mark.parametrize("method", [team_draft, optimized])
def test_a_ranking_beside_itself_wins_nothing(method):
    shown = method(A, A, 6, np.random.default_rng(0))
    assert shown.items == tuple(A[:6])
    if method is optimized:
        assert set(shown.credits) == {0.0}


def test_team_draft_deals_rounds():
    g = np.random.default_rng(3)
    beginnings = Counter(team_draft(A, B, 2, g).items for _ in range(2000))
    assert set(beginnings) == {("a", "b"), ("b", "a")}  # both rankings want the same two
    assert abs(beginnings["a", "b"] - 1000) < 120
    for _ in range(50):
        credits = team_draft(A, B, 8, g).credits
        assert [first + second for first, second in zip(credits[::2], credits[1::2], strict=True)] == [0] * 4


def test_a_short_ranking_leaves_its_turns_to_the_other():
    shown = team_draft(["a"], ["b", "c", "d"], 9, np.random.default_rng(0))
    assert sorted(shown.items) == ["a", "b", "c", "d"]


def test_probabilistic_credit_is_the_mean_over_assignments():
    """Two places: by hand, from weights 1/r^3."""
    a, b = ["x", "y"], ["y", "x"]
    shown = probabilistic(a, b, 2, np.random.default_rng(0))
    one, two = 1 / (1 + 1 / 8), (1 / 8) / (1 + 1 / 8)
    first = (two - one) / (one + two)
    assert shown.credits == pytest.approx((first if shown.items[0] == "x" else -first, 0.0))


@pytest.mark.parametrize("seed", range(20))
def test_optimised_lists_are_fair_at_every_place(seed):
    g = np.random.default_rng(seed)
    a, b = [list(map(str, g.permutation(10)[:7])) for _ in "ab"]
    lists, credits, probabilities = distribution(a, b, 6)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities @ credits == pytest.approx(np.zeros(6), abs=1e-8)
    for items in lists:
        for end in range(1, 7):  # a beginning of a list is made of beginnings of the two rankings
            shown = set(items[:end])
            heads = [next((n for n, item in enumerate(ranking) if item not in shown), 7) for ranking in (a, b)]
            assert shown == set(a[: heads[0]]) | set(b[: heads[1]])


def test_verdict_takes_the_lists_of_a_unit_together():
    values = np.random.default_rng(0).normal(0.1, 1, 300)
    by_list = verdict(values)
    assert by_list.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
    assert verdict(np.repeat(values, 3), np.repeat(np.arange(300), 3)).p_value == pytest.approx(by_list.p_value)
    counted = verdict([1.0, -1.0, 0.0, 2.0])
    assert (counted.wins_a, counted.wins_b, counted.ties, counted.share_b) == (1, 2, 1, 0.625)


def test_no_preference_is_found_as_often_as_it_should():
    g = np.random.default_rng(5)

    def of_a_click_anywhere():
        shown = team_draft(A, B, 5, g)
        return shown.preference([g.choice(shown.items)])

    found = [verdict([of_a_click_anywhere() for _ in range(60)]) for _ in range(300)]
    assert 0.02 <= np.mean([each.p_value < 0.05 for each in found]) <= 0.09


def test_bad_lists_are_refused():
    g = np.random.default_rng(0)
    for method in METHODS:
        with pytest.raises(InputError, match="Ranking B holds 'a' twice"):
            method(A, ["a", "a"], 3, g)
        with pytest.raises(InputError, match="A list of 0 items"):
            method(A, B, 0, g)
    with pytest.raises(InputError, match="'z' was not in the list"):
        Interleaved(("a",), (1.0,)).preference(["z"])
    with pytest.raises(InputError, match="1 units cannot be tested"):
        verdict([1.0])
