from __future__ import annotations

import polars as pl
import torch

from recsys import schemas
from recsys.towers.base import Note, item_texts
from recsys.towers.note_tasks import draw_tasks, note_text, with_hashtag

NOTE = Note("Autumn", "We climbed.", ("hill", "walk", "hill", "tea"), "travel")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_text_is_the_one_that_towers_read() -> None:
    notes = [NOTE, Note("", "only a body", (), ""), Note("title", "", ("tag",), ""), Note("title", "body", (), "")]
    rows = [{schemas.TITLE: n.title, schemas.TEXT: n.text, schemas.TAGS: list(n.tags)} for n in notes]
    frame = pl.DataFrame(rows, schema_overrides={schemas.TAGS: pl.List(pl.String)})
    assert [note_text(note) for note in notes] == item_texts(frame)


def test_the_hashtag_to_predict_is_taken_out_and_nothing_else() -> None:
    for seed in range(30):
        (task,) = draw_tasks([Note(NOTE.title, NOTE.text, NOTE.tags, "")], 1.0, seeded(seed))
        assert task.kind == "hashtag"
        kept = [word for word in ("#hill", "#walk", "#hill", "#tea") if word != f"#{task.answer}"]
        assert task.text == f"Autumn\n{' '.join(kept)}\nWe climbed."
    answers = {draw_tasks([NOTE], 1.0, seeded(seed))[0].answer for seed in range(40)}
    assert answers == {"hill", "walk", "tea", "travel"}


def test_the_category_task_shows_the_whole_note() -> None:
    (task,) = draw_tasks([Note(NOTE.title, NOTE.text, (), "travel")], 1.0, seeded(0))
    assert (task.kind, task.text, task.answer) == ("category", "Autumn\n\nWe climbed.", "travel")


def test_four_in_ten_notes_are_asked_for_a_hashtag() -> None:
    tasks = draw_tasks([NOTE] * 20_000, 1.0, seeded(0))
    assert len(tasks) == 20_000
    share = sum(task.kind == "hashtag" for task in tasks) / len(tasks)
    assert abs(share - 0.4) < 0.014  # four standard deviations
    assert tasks == draw_tasks([NOTE] * 20_000, 1.0, seeded(0))
    assert tasks != draw_tasks([NOTE] * 20_000, 1.0, seeded(1))


def test_a_note_gets_the_task_it_has_words_for() -> None:
    notes = [Note("a", "", (), ""), Note("b", "", ("t",), ""), Note("c", "", (), "x")] * 50
    kinds = {(task.row % 3, task.kind) for task in draw_tasks(notes, 1.0, seeded(3))}
    assert kinds == {(1, "hashtag"), (2, "category")}


def test_a_hashtag_joins_the_others() -> None:
    assert with_hashtag("Autumn\n#hill #walk\nWe climbed.", "tea") == "Autumn\n#hill #walk #tea\nWe climbed."
    assert with_hashtag("Autumn\n\nWe climbed.", "tea") == "Autumn\n#tea\nWe climbed."
    assert with_hashtag("We climbed.", "tea") == "We climbed.\n#tea"
    assert with_hashtag("", "tea") == "#tea"
    for known in ("hill", "Walk", ""):
        assert with_hashtag("#hill #walk\nWe climbed.", known) == "#hill #walk\nWe climbed."
    assert with_hashtag("#hillside\nWe climbed.", "hill") == "#hillside #hill\nWe climbed."


def test_only_a_share_of_the_notes_is_asked() -> None:
    everyone, some = (draw_tasks([NOTE] * 10_000, share, seeded(0)) for share in (1.0, 0.25))
    assert abs(len(some) / len(everyone) - 0.25) < 0.018  # four standard deviations
    assert set(some) < set(everyone)
    assert draw_tasks([NOTE], 0.0, seeded(0)) == []
