"""Instructions: questions about a note and their answers, as conversations to tune on and to ask by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch

from recsys.towers.base import Note
from recsys.towers.conversation import Turn

Task = Literal["caption", "tags", "category"]
Language = Literal["en", "zh"]

QUESTIONS: Mapping[Task, Mapping[Language, Sequence[str]]] = {
    "caption": {
        "en": ("Describe the picture.", "What does the picture show?", "Write a title for this note."),
        "zh": ("描述这张图片。", "图片里有什么?", "给这篇笔记写一个标题。"),
    },
    "tags": {
        "en": ("Which hashtags fit this note?", "Write hashtags for this note."),
        "zh": ("这篇笔记适合哪些话题标签?", "为这篇笔记写话题标签。"),
    },
    "category": {
        "en": ("Which category does this note belong to?", "Name the category of this note."),
        "zh": ("这篇笔记属于哪个类别?", "说出这篇笔记的类别。"),
    },
}
SHOWN_TEXT = 0.5  # share of notes with a picture whose text is shown too, so that neither is always there
_HAN = re.compile(r"[\u3400-\u9FFF]")
_HASHTAG = re.compile(r"#\s*([^#]+)")


def language_of(text: str) -> Language:
    """Chinese if there is any Chinese character in the text."""
    return "zh" if _HAN.search(text) else "en"


def question(task: Task, language: Language, number: int = 0) -> str:
    """One of the ways to ask."""
    ways = QUESTIONS[task][language]
    return ways[number % len(ways)]


def every_question() -> list[str]:
    """All of them."""
    return [way for languages in QUESTIONS.values() for ways in languages.values() for way in ways]


def vocabulary() -> list[str]:
    """Texts with whatever is written besides the notes' own words, for a tokenizer to know."""
    return [*every_question(), hashtags(QUESTIONS)]


def hashtags(tags: Iterable[str]) -> str:
    """Tags as one text."""
    return " ".join(f"#{tag}" for tag in tags)


def parse_hashtags(text: str) -> tuple[str, ...]:
    """Tags of a text as :func:`hashtags` writes it, each once, in their order."""
    return tuple(dict.fromkeys(tag for part in _HASHTAG.findall(text) if (tag := part.strip())))


def asked(words: str, text: str | None, has_image: bool) -> Turn:
    """The user's turn that shows a note and asks something of it.

    Args:
        words: what is asked.
        text: of the note; empty or ``None`` where it is not shown.
        has_image: whether its picture is shown.
    """
    return Turn("user", f"{text}\n{words}" if text else words, images=int(has_image))


def instructions(note: Note, has_image: bool, random: torch.Generator) -> list[Turn]:
    """A conversation of several turns that asks, in any order, for whatever is known of a note.

    The tags are never shown, and the caption is asked for only where the note's text is not shown.

    Args:
        note: with the answers.
        has_image: whether it has a picture.
        random: draws wordings, order, and whether the text is shown beside the picture.

    Returns:
        Turns; none where nothing can be asked.
    """
    shown = "\n".join(part for part in (note.title, note.text) if part)
    draws = torch.rand(8, generator=random).tolist()
    if has_image and draws[0] >= SHOWN_TEXT:
        shown = ""
    language = language_of(note.title + note.text + note.category + "".join(note.tags))
    answers: dict[Task, str] = {"caption": "" if shown else note.title or note.text}
    answers |= {"tags": hashtags(note.tags), "category": note.category}
    tasks: list[Task] = [task for task, answer in answers.items() if answer]
    if not (has_image or shown):
        return []
    turns: list[Turn] = []
    for place, task in enumerate(sorted(tasks, key=lambda task: draws[1 + list(answers).index(task)])):
        way = int(draws[4 + place] * 6)
        ask = question(task, language, way)
        turns += [
            asked(ask, shown, has_image) if place == 0 else Turn("user", ask),
            Turn("assistant", answers[task]),
        ]
    return turns
