from __future__ import annotations

import subprocess
import sys

import pytest

from recsys.retrieval.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("手冲咖啡的做法", ["手冲", "咖啡", "做法"]),
        ("清华大学", ["清华", "华大", "大学", "清华大学"]),  # a long word brings those inside it
        ("Running SHOES for the runner", ["run", "shoe", "runner"]),
        ("ＩＰｈｏｎｅ１５ 值得买", ["iphone15", "值得", "买"]),
        ("跑步鞋review👟，3天测评!", ["跑步", "鞋", "review", "3", "天", "测评"]),
        ("café Привет 😀", ["café", "привет"]),
        ("臺灣滷肉飯", ["臺", "灣", "滷", "肉", "飯"]),
        ("a_b", ["b"]),
        ("한국어 カメラ", ["한국어", "カメラ"]),
        ("𠮷野家", ["𠮷", "野家"]),
        ("", []),
        ("的 the 了 of 😀 ！？", []),
        ("\x00\ud800咖啡\udfff", ["咖啡"]),  # half a surrogate pair, as broken files have it
    ],
)
def test_known_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_nothing_is_printed_while_the_dictionary_is_read() -> None:
    code = "from recsys.retrieval.words import words_of; words_of('手冲咖啡')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
