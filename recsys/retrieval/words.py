"""Words of a text in Chinese, English or both, as the lexical index counts them."""

from __future__ import annotations

import re
import unicodedata

import rjieba
import Stemmer

HAN = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, those beyond the basic plane included."""
RUNS = re.compile(f"[{HAN}]+|[^\\W_{HAN}]+")
"""Runs of Chinese characters, and runs of other letters and digits; what stands between them is no word."""
STARTS_HAN = re.compile(f"[{HAN}]")

ENGLISH = """
a an and are as at be but by for from how i if in into is it my no not of on or our so such that the their then there
these they this to was we were what will with you your
"""
CHINESE = """
的 了 是 在 和 与 及 或 也 都 就 而 着 把 被 让 给 对 从 到 为 以 之 其 这 那 这个 那个 这些 那些 一个 一种
我 你 他 她 它 我们 你们 他们 她们 它们 吗 呢 吧 啊 呀 哦 哪 什么 怎么 怎样 如何 有 没有 不 很 可以
"""
STOP_WORDS = frozenset((ENGLISH + CHINESE).split())

_english = Stemmer.Stemmer("english")


def words_of(text: str) -> list[str]:
    """The words of a text, in their order, without stop words; a long Chinese word brings the words inside it along.

    Full-width forms become ordinary ones, capitals small, and English words their stems. Chinese is cut by the
    dictionary of jieba, which knows few traditional characters: those are words of one character. Punctuation and emoji
    are no words.
    """
    found: list[str] = []
    for run in RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if STARTS_HAN.match(run):
            found += [word for word in rjieba.cut_for_search(run) if word not in STOP_WORDS]
        elif run not in STOP_WORDS:
            found.append(_english.stemWord(run))
    return found
