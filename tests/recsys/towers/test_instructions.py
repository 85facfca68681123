from __future__ import annotations

import pytest
import torch

from recsys.towers.base import Note
from recsys.towers.instructions import (
    QUESTIONS,
    every_question,
    hashtags,
    instructions,
    language_of,
    parse_hashtags,
)

NOTE = Note(title="Red apples", text="They grow in autumn.", tags=("fruit", "red food"), category="Food")
SEEDS = range(60)


def drawn(note: Note, has_image: bool, seed: int) -> list[tuple[str, str, int]]:
    """Question, answer and number of pictures of each pair of turns."""
    turns = instructions(note, has_image, torch.Generator().manual_seed(seed))
    assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    return [(asked.text, said.text, asked.images) for asked, said in zip(turns[::2], turns[1::2], strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_notes_own_and_never_shown(seed: int) -> None:
    for has_image in (True, False):
        talk = drawn(NOTE, has_image, seed)
        answers = {said for _, said, _ in talk}
        shown = "Red apples" in talk[0][0]
        assert answers == {"#fruit #red food", "Food"} | (set() if shown else {"Red apples"})
        assert not any(said in asked for asked, said, _ in talk)
        assert [pictures for *_, pictures in talk] == [int(has_image), *[0] * (len(talk) - 1)]
        assert shown or has_image


def test_order_wording_and_what_is_shown_are_drawn() -> None:
    talks = [drawn(NOTE, True, seed) for seed in SEEDS]
    assert {talk[0][1] for talk in talks} == {"#fruit #red food", "Food", "Red apples"}
    assert 0.3 < sum("Red apples" in talk[0][0] for talk in talks) / len(talks) < 0.7
    ways = {asked for talk in talks for asked, said, _ in talk if said == "Food" and "\n" not in asked}
    assert ways == set(QUESTIONS["category"]["en"])
    assert drawn(NOTE, True, 5) == drawn(NOTE, True, 5)


def test_a_chinese_note_is_asked_in_chinese() -> None:
    talk = drawn(Note("红苹果", "", (), "水果"), True, 0)
    assert {language_of(asked) for asked, *_ in talk} == {"zh"}


def test_notes_about_which_nothing_is_known_are_left_out() -> None:
    assert drawn(Note("", "", (), ""), True, 0) == []
    assert drawn(Note("", "", ("fruit",), "Food"), False, 0) == []
    assert drawn(Note("Red apples", "", (), ""), False, 0) == []


def test_hashtags_round_trip() -> None:
    assert parse_hashtags(hashtags(("red food", "水果"))) == ("red food", "水果")
    assert parse_hashtags("# 水果 #food #food nothing # ") == ("水果", "food", "food nothing")
    assert parse_hashtags("no tags") == ()


def test_every_question_is_in_the_language_it_is_for() -> None:
    assert len(every_question()) == len(set(every_question()))
    for languages in QUESTIONS.values():
        assert all(language_of(way) == language for language, ways in languages.items() for way in ways)
