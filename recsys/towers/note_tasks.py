"""What NoteLLM writes to learn: the category of a note, or a hashtag that was taken out of it (2403.01744)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from recsys.towers.base import Note
from recsys.towers.note_prompt import Question

HASHTAG_SHARE = 0.4  # of the notes; the rest are asked for their category


@dataclass(frozen=True)
class NoteTask:
    """One question.

    Attributes:
        row: of the note in its batch.
        kind: what is asked for.
        text: what is shown.
        answer: what is to be written.
    """

    row: int
    kind: Question
    text: str
    answer: str


def note_text(note: Note) -> str:
    """Title, hashtags and body as towers read them, see :func:`recsys.towers.base.item_texts`."""
    return "\n".join([note.title, " ".join(f"#{tag}" for tag in note.tags), note.text]).strip()


def with_hashtag(text: str, tag: str) -> str:
    """A text as of :func:`note_text` with one more hashtag; the same text where the tag is there already, or empty."""
    lines = text.split("\n")
    place = next((number for number, line in enumerate(lines[:2]) if line.startswith("#")), None)
    if not tag or (place is not None and f" #{tag} ".lower() in f" {lines[place]} ".lower()):
        return text
    if place is not None:
        lines[place] += f" #{tag}"
    elif lines[1:2] == [""]:
        lines[1] = f"#{tag}"
    else:
        lines.insert(1, f"#{tag}")
    return "\n".join(lines).strip()


def draw_tasks(notes: Sequence[Note], share: float, random: torch.Generator) -> list[NoteTask]:
    """At most one task a note; a note that lacks what was drawn gets the other task, one that lacks both gets none.

    Args:
        notes: the words of the items.
        share: of the notes that are asked at all.
        random: who is asked, which task, and which hashtag is taken out: with every copy of it, so that none tells.
    """
    asked = (torch.rand(len(notes), generator=random) < share).tolist()
    kinds = torch.rand(len(notes), generator=random).tolist()
    choices = torch.rand(len(notes), generator=random).tolist()
    tasks = []
    for row, (note, kind, choice) in enumerate(zip(notes, kinds, choices, strict=True)):
        if not asked[row]:
            continue
        if note.tags and (kind < HASHTAG_SHARE or not note.category):
            answer = note.tags[int(choice * len(note.tags))]
            kept = tuple(tag for tag in note.tags if tag != answer)
            tasks.append(NoteTask(row, "hashtag", note_text(Note(note.title, note.text, kept, note.category)), answer))
        elif note.category:
            tasks.append(NoteTask(row, "category", note_text(note), note.category))
    return tasks
