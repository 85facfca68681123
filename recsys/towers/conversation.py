"""Conversations about pictures as token ids and labels, written turn by turn (2304.08485).

Each piece is tokenised once and its ids and labels are appended together, so that a label can never slip onto a
neighbour, as it does where a rendered string is tokenised a second time to find out how long its parts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recsys.encoders.causal_lm import IGNORED, LanguageModel

IMAGE = -200
"""Stands in the ids where a token of a picture goes; no id of any vocabulary (LLaVA's own choice)."""

USER, ASSISTANT = ROLE_TOKENS = ("[USER]", "[ASSISTANT]")
"""Role markers of models trained from scratch."""

CHECKPOINT_MARKERS = ("USER: ", " ASSISTANT:")
"""Role markers in the words of LLaVA-1.5, for models that have no tokens for them."""


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Attributes:
        role: who; ``system`` comes first, if at all.
        text: in words.
        images: how many pictures are shown before the words.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    images: int = 0


@dataclass(frozen=True)
class EncodedConversation:
    """One conversation.

    Attributes:
        ids: token ids, ``IMAGE`` where a token of a picture goes.
        labels: the same ids where the assistant speaks or ends, else ``-100``.
    """

    ids: list[int]
    labels: list[int]


class ConversationEncoder:
    """Writes conversations in the ids of one language model.

    Args:
        model: whose tokenizer, start and end tokens are used.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        tokens = [model.tokenizer.token_to_id(name) for name in ROLE_TOKENS]
        self.user, self.assistant = (
            model.ids(words) if token is None else [token]
            for token, words in zip(tokens, CHECKPOINT_MARKERS, strict=True)
        )
        self.break_ids = model.ids("\n")

    def encode(self, turns: Sequence[Turn], image_tokens: int) -> EncodedConversation:
        """Ids and labels of a conversation.

        A text longer than the model's ``max_tokens`` is cut; where that is an answer, its end is no label, since it
        would teach to stop in the middle.

        Args:
            turns: in their order; where the last is the user's, the assistant's marker follows, for an answer.
            image_tokens: how many tokens each picture takes.
        """
        ids = list(self.model.start_ids)
        labels = [IGNORED] * len(ids)
        for turn in turns:
            words = self.model.ids(turn.text)
            text = words[: self.model.max_tokens]
            if turn.role == "assistant":
                end = IGNORED if len(text) < len(words) else self.model.eos_id
                ids += [*self.assistant, *text, self.model.eos_id]
                labels += [*([IGNORED] * len(self.assistant)), *text, end]
                continue
            shown = [IMAGE] * (turn.images * image_tokens)
            piece = [*(self.user if turn.role == "user" else []), *shown, *(self.break_ids if shown else []), *text]
            ids += piece
            labels += [IGNORED] * len(piece)
        if turns[-1].role != "assistant":
            ids += self.assistant
            labels += [IGNORED] * len(self.assistant)
        return EncodedConversation(ids, labels)

    def collate(self, conversations: Sequence[EncodedConversation]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, labels (``-100``) and mask (bool), each ``[n, longest]``, padded at the right."""
        longest = max((len(conversation.ids) for conversation in conversations), default=0)
        ids = torch.full((len(conversations), longest), self.model.pad_id)
        labels = torch.full((len(conversations), longest), IGNORED)
        mask = torch.zeros(len(conversations), longest, dtype=torch.bool)
        for row, conversation in enumerate(conversations):
            length = len(conversation.ids)
            ids[row, :length] = torch.tensor(conversation.ids)
            labels[row, :length] = torch.tensor(conversation.labels)
            mask[row, :length] = True
        return ids, labels, mask
