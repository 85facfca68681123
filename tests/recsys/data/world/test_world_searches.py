"""Grades follow from what a note is about, why it was written, and its language."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.data.world.notes import Notes
from recsys.data.world.searches import ANY_INTENT, Search, draw_searches, grades
from recsys.data.world.topics import LANGUAGES, SUBTOPICS, ZH, subtopic


@pytest.fixture
def notes() -> Notes:
    """Six notes: (topic, subtopic, intent, zh)."""
    rows = [(0, 0, 2, True), (0, 0, 1, True), (0, 1, 2, True), (0, 1, 1, True), (1, 4, 2, True), (0, 0, 2, False)]
    topic, part, intent, is_zh = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.int32)
    zeros = np.zeros(len(rows), np.float32)
    return Notes(topic, part, intent, nothing, nothing, nothing, zeros, nothing.astype(np.int64), is_zh.astype(bool))


def test_grades_with_an_intent(notes: Notes) -> None:
    np.testing.assert_array_equal(grades(Search("家常菜好物", "zh", 0, 2), notes), [3, 2, 1, 0, 0, 2])


def test_grades_of_a_subtopic_alone(notes: Notes) -> None:
    np.testing.assert_array_equal(grades(Search("家常菜", "zh", 0, ANY_INTENT), notes), [3, 3, 1, 1, 0, 2])


def test_grades_of_an_english_search(notes: Notes) -> None:
    np.testing.assert_array_equal(grades(Search("home cooking", "en", 0, 2), notes), [2, 1, 0, 0, 0, 3])


def test_searches_cover_every_subtopic_in_both_languages_and_say_what_they_mean() -> None:
    searches = draw_searches(np.random.default_rng(0))
    assert len({search.text for search in searches}) == len(searches) == 4 * len(SUBTOPICS)
    for search in searches:
        name = subtopic(search.subtopic).names(search.language)[0]
        assert search.text.startswith(name)
        assert (search.text == name) == (search.intent == ANY_INTENT)
        assert (search.language == ZH) == any(letter >= "\u4e00" for letter in search.text)
    assert {search.language for search in searches} == set(LANGUAGES)
