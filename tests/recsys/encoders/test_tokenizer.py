from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from recsys.encoders.tokenizer import PAD_ID, UNK, load_tokenizer, token_ids, train_tokenizer
from recsys.exceptions import ArtifactError

CORPUS = ["今天去喝咖啡 coffee time", "咖啡店探店 walking walked", "周末 hiking, walking the dog", "手冲咖啡教程"] * 3


def test_chinese_is_split_by_character_and_nothing_of_the_corpus_is_unknown() -> None:
    tokenizer = train_tokenizer(CORPUS, 200)
    tokens = tokenizer.encode("手冲咖啡 walking").tokens
    assert tokens == ["[CLS]", "手", "冲", "咖", "啡", "walking", "[SEP]"]
    assert all(UNK not in tokenizer.encode(text).tokens for text in CORPUS)
    assert UNK in tokenizer.encode("鹦鹉").tokens


def test_training_is_the_same_in_every_process() -> None:
    """Hash tables inside the trainer are seeded per process; the vocabulary must not depend on them."""
    code = (
        "import sys, json; from recsys.encoders.tokenizer import train_tokenizer;"
        "print(json.dumps(train_tokenizer(json.loads(sys.argv[1]), 200).get_vocab(), sort_keys=True))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code, json.dumps(CORPUS)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(runs) == 1


def test_ids_are_cut_and_padded() -> None:
    tokenizer = train_tokenizer(CORPUS, 200)
    ids = token_ids(tokenizer, ["咖啡", "今天去喝咖啡"], 5)
    assert ids.shape == (2, 5)
    assert ids[0, -1] == PAD_ID
    assert tokenizer.decode(ids[1].tolist(), skip_special_tokens=False).split() == ["[CLS]", "今", "天", "去", "[SEP]"]
    assert token_ids(tokenizer, [], 5).shape == (0, 5)


def test_load_reads_either_hub_format(tmp_path: Path) -> None:
    trained = train_tokenizer(CORPUS, 200)
    (tmp_path / "new").mkdir()
    trained.save(str(tmp_path / "new" / "tokenizer.json"))
    (tmp_path / "old").mkdir()
    vocabulary = sorted(trained.get_vocab().items(), key=lambda entry: entry[1])
    (tmp_path / "old" / "vocab.txt").write_text("\n".join(token for token, _ in vocabulary))
    text = ["今天 hiking 咖啡"]
    for loaded in (load_tokenizer(tmp_path / "new"), load_tokenizer(tmp_path / "old")):
        assert isinstance(loaded, Tokenizer)
        np.testing.assert_array_equal(token_ids(loaded, text, 12), token_ids(trained, text, 12))


def test_a_folder_without_a_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        load_tokenizer(tmp_path)
