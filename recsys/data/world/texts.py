"""Writes a note: title, body and hashtags that say topic and intent, and never what the picture looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.world.intents import INTENTS
from recsys.data.world.topics import EN, SUBTOPICS, TOPICS, ZH

NO_INTENT = -1
"""A note of few words has no intent to speak of."""

MOODS = {
    ZH: ("嗯", "✨", "今天", "🥰🥰", "随手", "哈哈哈", "……", "分享一下", "好喜欢", "🌿"),
    EN: ("mood", "✨✨", "hi", "today", "just because", "lol", "…", "love this", "hello again", "🫶"),
}
ASIDES = {
    ZH: (
        "周末的阳光刚刚好。",
        "说多了都是泪。",
        "最近一直在听同一首歌。",
        "评论区聊聊？",
        "更新有点慢，见谅。",
        "家人说我又上头了。",
    ),
    EN: (
        "The weekend light was just right.",
        "Long story short.",
        "The same song has been on repeat.",
        "Let us chat below?",
        "Sorry for the slow updates.",
        "My family says I am obsessed.",
    ),
}
COMMON_TAGS = {ZH: ("我的生活", "周末去哪儿", "笔记灵感"), EN: ("lifestyle", "weekend", "inspiration")}


@dataclass(frozen=True)
class Words:
    """The text of one note; all but the title are empty where the author wrote next to nothing."""

    title: str
    text: str
    tags: tuple[str, ...]


def write(rng: np.random.Generator, subtopic: int, intent: int, language: str) -> Words:
    """Compose the text of a note.

    Args:
        rng: source of variety.
        subtopic: position in :data:`SUBTOPICS`.
        intent: position in :data:`INTENTS`, or ``NO_INTENT`` for a mere mood.
        language: one of :data:`recsys.data.world.topics.LANGUAGES`.
    """
    if intent == NO_INTENT:
        return Words(_pick(rng, MOODS[language]), "", ())
    topic = TOPICS[SUBTOPICS[subtopic][0]]
    names = topic.subtopics[SUBTOPICS[subtopic][1]].names(language)
    phrases = INTENTS[intent].phrases(language)
    details = topic.details(language)
    a, b, c, d = (details[i] for i in rng.permutation(len(details))[:4])
    sentences = [_pick(rng, phrases.openings), _pick(rng, phrases.points).format(a=a, b=b)]
    if rng.random() < 0.6:
        sentences.append(_pick(rng, phrases.points).format(a=c, b=d))
    if rng.random() < 0.5:
        sentences.append(_pick(rng, ASIDES[language]))
    sentences.append(_pick(rng, phrases.endings))
    tags = [names[0], topic.label(language), _pick(rng, phrases.tags), _pick(rng, COMMON_TAGS[language])]
    kept = [tag for tag, shown in zip(tags, rng.random(4) < (0.8, 0.7, 0.5, 0.4), strict=True) if shown]
    joint = "" if language == ZH else " "
    title = _pick(rng, phrases.titles).format(sub=_pick(rng, names))
    return Words(
        title[0].upper() + title[1:],
        joint.join(sentence[0].upper() + sentence[1:] for sentence in sentences),
        tuple(tag.replace(" ", "").replace("'", "") for tag in kept),
    )


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
