"""Tokenizers: WordPiece trained on the corpus (Chinese by character), or the one of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from recsys.encoders.checkpoints import read_json
from recsys.exceptions import ArtifactError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD_ID = 0
RAREST_TOKEN = 2  # occurrences


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a BERT-style WordPiece tokenizer; the same texts give the same vocabulary.

    Args:
        texts: the corpus.
        vocab_size: largest vocabulary; every character of the corpus is kept, so that none becomes unknown.
    """
    corpus = list(texts)
    normalizer, splitter = BertNormalizer(lowercase=True, handle_chinese_chars=True), BertPreTokenizer()
    initial, inner = set[str](), set[str]()
    for text in corpus:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            initial.add(word[0])
            inner.update(f"##{character}" for character in word[1:])
    # The trainer numbers "##x" pieces in the order of a hash table; naming them up front makes training deterministic.
    alphabet = [*SPECIAL_TOKENS, *sorted(initial), *sorted(inner)]
    trainer = WordPieceTrainer(
        vocab_size=max(vocab_size, len(alphabet)),
        min_frequency=RAREST_TOKEN,
        limit_alphabet=len(alphabet),
        special_tokens=alphabet,
        show_progress=False,
    )
    trained = Tokenizer(WordPiece(unk_token=UNK))
    trained.normalizer, trained.pre_tokenizer = normalizer, splitter
    trained.train_from_iterator(corpus, trainer)

    tokenizer = Tokenizer(WordPiece(trained.get_vocab(with_added_tokens=True), unk_token=UNK))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)]
    )
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Tokenizer of a checkpoint in the hub's format: ``tokenizer.json``, or BERT's older ``vocab.txt``.

    It pads with the token that ``tokenizer_config.json`` names, if there is one.

    Raises:
        ArtifactError: neither file is there.
    """
    settings = read_json(path / SETTINGS_FILE)
    if (path / TOKENIZER_FILE).exists():
        tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
    elif (path / "vocab.txt").exists():
        lowercase = bool(settings.get("do_lower_case", True))
        tokenizer = BertWordPieceTokenizer(str(path / "vocab.txt"), lowercase=lowercase)._tokenizer
    else:
        raise ArtifactError(f"{path} has no {TOKENIZER_FILE} and no vocab.txt.", "Name a folder in the hub's format.")
    pad = settings.get("pad_token")
    pad = pad["content"] if isinstance(pad, dict) else pad
    if pad is not None and (token := tokenizer.token_to_id(pad)) is not None:
        pad_with(tokenizer, token)
    return tokenizer


def pad_with(tokenizer: Tokenizer, token: int) -> None:
    """Make a tokenizer pad with a token; its file keeps it."""
    tokenizer.enable_padding(pad_id=token, pad_token=tokenizer.id_to_token(token))


def pad_id(tokenizer: Tokenizer) -> int:
    """What a tokenizer pads with: what it was set to, or ``[PAD]``."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    return tokenizer.token_to_id(PAD) or PAD_ID


def token_ids(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> npt.NDArray[np.int32]:
    """Token ids ``[n, max_tokens]``, cut at ``max_tokens`` and padded with :func:`pad_id`."""
    pad = pad_id(tokenizer)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad), length=max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    return np.asarray(ids, dtype=np.int32).reshape(len(texts), max_tokens)
