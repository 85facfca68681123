"""Texts say topic and intent, and never what the picture looks like."""

from __future__ import annotations

import re

import numpy as np
import pytest

from recsys.data.world.intents import INTENTS
from recsys.data.world.palettes import PALETTES
from recsys.data.world.styles import STYLES
from recsys.data.world.texts import MOODS, NO_INTENT, Words, write
from recsys.data.world.topics import LANGUAGES, SUBTOPICS, ZH, subtopic

LOOKS_EN = {
    *(style.name for style in STYLES),
    *(palette.name for palette in PALETTES),
    *(
        "red",
        "orange",
        "yellow",
        "green",
        "blue",
        "purple",
        "violet",
        "pink",
        "brown",
        "black",
        "white",
        "grey",
        "gold",
    ),
    *("silver", "pastel", "colour", "color", "colourful", "bright", "dark", "watercolor", "geometric", "gradient"),
    *("dots", "dotted", "grainy", "vignette", "neon", "night", "glowing", "vintage", "minimal", "paper-cut", "outline"),
}
LOOKS_ZH = (*"红橙黄绿蓝紫粉棕黑白灰金银色", "水彩", "线稿", "胶片", "颗粒", "波点", "霓虹", "剪纸", "复古", "渐变")


def every_text(rounds: int) -> list[tuple[Words, int, int, str]]:
    """Texts of every subtopic and intent in both languages."""
    rng = np.random.default_rng(0)
    return [
        (write(rng, number, intent, language), number, intent, language)
        for _ in range(rounds)
        for number in range(len(SUBTOPICS))
        for intent in range(len(INTENTS))
        for language in LANGUAGES
    ]


def whole(words: Words) -> str:
    return " ".join([words.title, words.text, *words.tags])


def test_texts_never_mention_the_look() -> None:
    for words, *_ in every_text(rounds=8):
        text = whole(words).lower()
        assert not LOOKS_EN & set(re.findall(r"[a-z]+", text)), text
        assert not [look for look in LOOKS_ZH if look in text], text


def test_titles_name_the_subtopic() -> None:
    for words, number, _, language in every_text(rounds=1):
        assert any(name.lower() in words.title.lower() for name in subtopic(number).names(language)), words.title


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_an_intent_tell_it_from_the_others(language: str) -> None:
    """A naive Bayes over characters (zh) or words (en), trained on one half of the subtopics, knows the other half."""
    texts = [(whole(words), intent, number) for words, number, intent, spoken in every_text(2) if spoken == language]
    pieces = [set(text) if language == ZH else set(re.findall(r"[a-z]+", text.lower())) for text, *_ in texts]
    vocabulary = {piece: column for column, piece in enumerate(sorted(set().union(*pieces)))}
    present = np.zeros((len(texts), len(vocabulary)))
    for row, found in enumerate(pieces):
        present[row, [vocabulary[piece] for piece in found]] = 1
    intents = np.array([intent for _, intent, _ in texts])
    fit = np.array([number % 2 == 0 for *_, number in texts])
    shares = np.stack([(present[fit & (intents == i)].sum(0) + 0.5) / (fit & (intents == i)).sum() for i in range(6)])
    shares = np.clip(shares, 1e-3, 1 - 1e-3)
    scores = present[~fit] @ np.log(shares).T + (1 - present[~fit]) @ np.log(1 - shares).T
    assert np.mean(scores.argmax(axis=1) == intents[~fit]) > 0.95


def test_a_mere_mood_says_nothing() -> None:
    words = write(np.random.default_rng(0), 3, NO_INTENT, ZH)
    assert words.title in MOODS[ZH]
    assert (words.text, words.tags) == ("", ())
