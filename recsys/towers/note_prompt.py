"""Prompts of notes: each piece is tokenised once, and the pieces that a row has are joined as ids, row by row.

Rows differ in which pieces they have and in how long their content is. Tokens end up on the left and padding on the
right, so a causal model gives every row what it would give it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import torch
from torch import Tensor

from recsys.encoders.causal_lm import IGNORED, LanguageModel, LanguageModelConfig

Question = Literal["hashtag", "category"]

NOTE, PICTURE, COMPRESS = "Note:", "Picture:", "Compress to one word:"
QUESTIONS: dict[Question, str] = {"hashtag": "One more hashtag:", "category": "Category:"}
EMB, IMG, IMG_EMB = MARKERS = ("[EMB]", "<IMG>", "<IMG_EMB>")
"""New tokens: the word a note is compressed to, a spot of its picture, the word the picture is compressed to."""

ANSWER_TOKENS = 16  # longest answer that is learned or written


def language_model(config: LanguageModelConfig, corpus: Sequence[str]) -> LanguageModel:
    """A language model for notes.

    One that starts from nothing knows no instructions to follow, so each phrase of the prompts becomes one token of it.
    """
    phrases = () if config.checkpoint is not None else (NOTE, PICTURE, COMPRESS, *QUESTIONS.values())
    return LanguageModel.create(config, corpus, (*MARKERS, *phrases))


class Part(IntEnum):
    """Pieces of a prompt, in their order."""

    START = 0
    PICTURE = 1
    SPOTS = 2
    PICTURE_COMPRESS = 3
    PICTURE_WORD = 4
    NOTE = 5
    CONTENT = 6
    COMPRESS = 7
    QUESTION = 8
    ANSWER = 9


@dataclass(frozen=True, eq=False)
class Piece:
    """One part of n prompts.

    Attributes:
        ids: token ids, int ``[n, length]``.
        real: which of them are there, bool ``[n, length]``.
    """

    ids: Tensor
    real: Tensor

    @classmethod
    def fixed(cls, ids: Sequence[int], rows: Tensor) -> Piece:
        """The same words for the rows that are true in ``rows``, bool ``[n]``."""
        words = torch.tensor(ids, dtype=torch.int64, device=rows.device).expand(len(rows), -1)
        return cls(words, rows[:, None].expand_as(words))

    @classmethod
    def ragged(cls, rows: Sequence[Sequence[int]], device: torch.device) -> Piece:
        """Words of each row's own."""
        longest = max(map(len, rows), default=0)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64, device=device)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64, device=device)
        return cls(ids.reshape(len(rows), longest), torch.arange(longest, device=device) < lengths[:, None])

    def cut(self, most: int) -> Piece:
        """The first ``most`` tokens of each row, without columns in which nothing is left."""
        real = self.real & (self.real.cumsum(dim=1) <= most)
        columns = int(real.any(dim=0).nonzero().max()) + 1 if real.any() else 0
        return Piece(self.ids[:, :columns], real[:, :columns])


@dataclass(frozen=True, eq=False)
class Prompts:
    """Joined pieces.

    Attributes:
        tokens: int64 ``[n, longest]``, padded on the right.
        parts: number of the piece that a token comes from, ``[n, longest]``, -1 where padded.
    """

    tokens: Tensor
    parts: Tensor

    @property
    def mask(self) -> Tensor:
        """Where there is a token, bool ``[n, longest]``."""
        return self.parts >= 0

    def end(self, part: int) -> Tensor:
        """Position ``[n]`` of the last token up to the end of a piece; 0 where there is none."""
        return ((self.parts >= 0) & (self.parts <= part)).sum(dim=1).sub(1).clamp(min=0)

    def next_tokens(self, part: int) -> Tensor:
        """What should follow each position ``[n, longest]``: the tokens of a piece, -100 elsewhere."""
        following = self.tokens.masked_fill(self.parts != part, IGNORED).roll(-1, dims=1)
        following[:, -1:] = IGNORED
        return following


def join(pieces: Sequence[Piece], pad_id: int) -> Prompts:
    """Put the pieces one behind the other, leaving out what is not real.

    Args:
        pieces: of the same n rows.
        pad_id: fills the rows that are shorter than the longest.
    """
    ids = torch.cat([piece.ids.long() for piece in pieces], dim=1)
    real = torch.cat([piece.real for piece in pieces], dim=1)
    lengths = torch.tensor([piece.ids.shape[1] for piece in pieces])
    numbers = torch.arange(len(pieces)).repeat_interleave(lengths).to(ids.device).expand_as(ids)
    longest = int(real.sum(dim=1).max()) if len(ids) else 0
    places = torch.where(real, real.cumsum(dim=1) - 1, longest)  # what is not real falls into a spare last column
    tokens = ids.new_full((len(ids), longest + 1), pad_id).scatter(1, places, ids)
    parts = ids.new_full((len(ids), longest + 1), -1).scatter(1, places, numbers)
    return Prompts(tokens[:, :longest], parts[:, :longest])


class NotePrompter:
    """Writes the prompts of notes in the ids of one language model, which gets the markers as new tokens.

    ``Note: <content> Compress to one word:`` (2403.01744); before it, where there is a picture,
    ``Picture: <IMG>... Compress to one word: <IMG_EMB>`` (mICL, 2405.16789), which sees nothing of the text.

    Args:
        text: the language model.
    """

    def __init__(self, text: LanguageModel) -> None:
        self.text = text
        self.word, self.spot, self.picture_word = text.add_tokens(MARKERS)
        self.context = int(text.model.config.max_position_embeddings)
        self.note, self.picture, self.compress = (self._phrase(words) for words in (NOTE, PICTURE, COMPRESS))
        self.questions = {kind: [self.word, *self._phrase(words)] for kind, words in QUESTIONS.items()}

    def compose(
        self, content: Tensor, has_text: Tensor, has_image: Tensor, spots: int = 0, ending: Sequence[Piece] = ()
    ) -> Prompts:
        """The prompts of n notes; where the model's context is too short, the content is cut and nothing else.

        Args:
            content: token ids of the notes, ``[n, length]``.
            has_text: whether to show it, bool ``[n]``.
            has_image: whether to leave spots for a picture, bool ``[n]``.
            spots: how many.
            ending: :meth:`ask` and :meth:`answer`.
        """
        everyone = torch.ones_like(has_text)
        has_image = has_image & (spots > 0)
        head = [
            Piece.fixed(self.text.start_ids, everyone),
            Piece.fixed(self.picture, has_image),
            Piece.fixed([self.spot] * spots, has_image),
            Piece.fixed(self.compress, has_image),
            Piece.fixed([self.picture_word], has_image),
            Piece.fixed(self.note, has_text),
        ]
        tail = [Piece.fixed(self.compress, has_text), *ending]
        room = self.context - sum(piece.ids.shape[1] for piece in (*head, *tail))
        shown = Piece(content, (content != self.text.pad_id) & has_text[:, None]).cut(max(0, room))
        return join([*head, shown, *tail], self.text.pad_id)

    def ask(self, kinds: Sequence[Question]) -> Piece:
        """What stands between a note and an answer: the word it was compressed to, and the question."""
        return Piece.ragged([self.questions[kind] for kind in kinds], self._device)

    def answer(self, answers: Sequence[str]) -> Piece:
        """The answers to be learned, and their end; one that is cut has none, which would teach to stop midway."""
        ids = [[*self.text.ids(answer), self.text.eos_id][:ANSWER_TOKENS] for answer in answers]
        return Piece.ragged(ids, self._device)

    def _phrase(self, words: str) -> list[int]:
        token = self.text.tokenizer.token_to_id(words)
        return self.text.ids(words) if token is None else [token]

    @property
    def _device(self) -> torch.device:
        return next(self.text.parameters()).device
