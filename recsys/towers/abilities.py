"""What some families can do besides encoding: judge a (text, picture) pair, and describe a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from recsys.towers.tower import ROWS_AT_ONCE, Tower
from recsys.types import FloatArray, Image


class Matching(Tower, ABC):
    """Looks at text and picture together, and says whether they belong together: re-ranks what retrieval found."""

    match_weight: Tensor
    """What log odds weigh beside cosine / temperature when found pictures are put in order; 1 unless fitted."""

    @property
    @abstractmethod
    def contrast_temperature(self) -> float:
        """What cosines are divided by where hard wrong pairs are drawn for matching to learn from."""

    @abstractmethod
    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        """Log odds ``[n]`` that row i of the token ids ``[n, length]`` belongs to row i of the images."""

    @torch.inference_mode()
    def match(self, texts: Sequence[str], images: Sequence[Image | FloatArray]) -> FloatArray:
        """Probability ``[n]`` that each text belongs to the picture beside it."""
        self.eval()
        scores = []
        for start in range(0, len(texts), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            tokens = torch.from_numpy(self.text.tokens(texts[rows])).to(self.device)
            pictures = torch.from_numpy(self.image.prepare(images[rows])).to(self.device)
            scores.append(self.match_logits(tokens, pictures).sigmoid().float().cpu().numpy())
        return np.concatenate([np.zeros(0, np.float32), *scores])


class Captioning(Tower, ABC):
    """Describes pictures in words."""

    @abstractmethod
    def caption_nll(self, tokens: Tensor, images: Tensor) -> Tensor:
        """Mean negative log likelihood per token ``[n]`` of each text, given the picture beside it."""

    @abstractmethod
    def write_captions(
        self, images: Tensor, max_tokens: int, top_p: float | None = None, random: torch.Generator | None = None
    ) -> list[str]:
        """Captions of images as in :class:`recsys.towers.base.TowerInputs`.

        Args:
            images: what the image encoder reads.
            max_tokens: longest caption.
            top_p: sample from the smallest set of tokens of this probability (nucleus, 1904.09751); default: greedy.
            random: for sampling.
        """

    @torch.inference_mode()
    def caption(
        self,
        images: Sequence[Image | FloatArray],
        max_tokens: int = 24,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]:
        """One caption a picture; see :meth:`write_captions`."""
        self.eval()
        captions: list[str] = []
        for start in range(0, len(images), ROWS_AT_ONCE):
            pictures = torch.from_numpy(self.image.prepare(images[start : start + ROWS_AT_ONCE])).to(self.device)
            captions += self.write_captions(pictures, max_tokens, top_p, random)
        return captions
