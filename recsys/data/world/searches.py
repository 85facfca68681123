"""Search queries in both languages, and how relevant every note is to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.world.intents import INTENTS
from recsys.data.world.notes import Notes
from recsys.data.world.topics import LANGUAGES, SUBTOPICS, ZH, subtopic
from recsys.data.world.truth import Truth

ANY_INTENT = -1
"""The searcher asks for a subtopic, whatever the intent."""
NO_SEARCH = -1
"""The reader scrolls the feed instead."""


@dataclass(frozen=True)
class Search:
    """What someone asks for.

    Attributes:
        text: as typed.
        language: one of ``LANGUAGES``.
        subtopic: position in ``SUBTOPICS``.
        intent: position in ``INTENTS``, or ``ANY_INTENT``.
    """

    text: str
    language: str
    subtopic: int
    intent: int


def draw_searches(rng: np.random.Generator) -> tuple[Search, ...]:
    """Per language and subtopic, one search for the subtopic and one for a subtopic with an intent."""
    searches = []
    for language in LANGUAGES:
        for number in range(len(SUBTOPICS)):
            name = subtopic(number).names(language)[0]
            intent = int(rng.integers(len(INTENTS)))
            word = INTENTS[intent].phrases(language).word
            joint = "" if language == ZH else " "
            searches.append(Search(name, language, number, ANY_INTENT))
            searches.append(Search(name + joint + word, language, number, intent))
    return tuple(searches)


def grades(search: Search, notes: Notes) -> npt.NDArray[np.int8]:
    """Relevance of every note, 0 to 3, int8 ``[n]``.

    3: the subtopic, and the intent where one is asked for. 2: the subtopic with another intent. 1: the topic, with the
    intent where one is asked for. A note in the other language is worth one grade less.
    """
    intended = (search.intent == ANY_INTENT) | (notes.intent == search.intent)
    same_subtopic = notes.subtopic == search.subtopic
    same_topic = notes.topic == SUBTOPICS[search.subtopic][0]
    grade = np.select([same_subtopic & intended, same_subtopic, same_topic & intended], [3, 2, 1], 0)
    foreign = notes.is_zh != (search.language == ZH)
    return np.asarray(np.maximum(grade - foreign, 0), np.int8)


def choose_searches(
    rng: np.random.Generator,
    truth: Truth,
    searches: Sequence[Search],
    users: npt.NDArray[np.int64],
    languages: npt.NDArray[np.int64],
    time: int,
) -> npt.NDArray[np.int64]:
    """For each reader a search in the reader's language, more likely for what the reader likes.

    Args:
        rng: source of chance.
        truth: tastes.
        searches: all searches there are.
        users: reader rows, ``[n]``.
        languages: positions in ``LANGUAGES``, ``[n]``.
        time: milliseconds since 1970.

    Returns:
        Positions in ``searches``, ``[n]``.
    """
    subtopics = np.array([search.subtopic for search in searches])
    intents = np.array([search.intent for search in searches])
    written_in = np.array([LANGUAGES.index(search.language) for search in searches])
    liking = truth.taste("topic", users, time)[:, np.array(SUBTOPICS)[subtopics, 0]]
    liking += truth.taste("subtopic", users, time)[:, subtopics]
    liking += np.where(intents == ANY_INTENT, 0, truth.taste("intent", users, time)[:, np.maximum(intents, 0)])
    liking[written_in[None, :] != languages[:, None]] = -np.inf
    return np.asarray(np.argmax(liking + rng.gumbel(size=liking.shape), axis=1), np.int64)
