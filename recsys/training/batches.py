"""What a training step reads: items prepared once (tokens in memory, pictures on disk) and seeded batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from recsys import schemas
from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.data.pairs import ItemPairs
from recsys.progress import track
from recsys.towers.base import ALL_PARTS, item_texts
from recsys.towers.clip import ClipTower
from recsys.types import RowArray

UNTITLED_SHARE = 0.5
"""How often an item is read without its title, which must then be found by meaning rather than by its own words."""
CROP = 1 / 16
"""Largest shift of a picture in training, as a share of its side."""


@dataclass(frozen=True, eq=False)
class PreparedItems:
    """The catalogue as a tower reads it.

    Attributes:
        tokens: of the whole text, int32 ``[n, length]``.
        title_tokens: of the title alone; short texts, as queries are.
        untitled_tokens: of hashtags and body.
        pixels: uint8 ``[n, 3, size, size]``, memory-mapped.
        has_text: bool ``[n]``.
        has_image: bool ``[n]``.
        has_parts: whether there is a title and more text besides, bool ``[n]``.
    """

    tokens: npt.NDArray[np.int32]
    title_tokens: npt.NDArray[np.int32]
    untitled_tokens: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.uint8]
    has_text: npt.NDArray[np.bool_]
    has_image: npt.NDArray[np.bool_]
    has_parts: npt.NDArray[np.bool_]

    @classmethod
    def prepare(cls, dataset: Dataset, tower: ClipTower, scratch: Path) -> PreparedItems:
        """Tokenise the texts and decode every cover once.

        Args:
            dataset: the catalogue.
            tower: whose preprocessing to use.
            scratch: file for the pictures; used as it is when it stands there already.
        """
        texts, titles, untitled = (
            item_texts(dataset.items, parts) for parts in (ALL_PARTS, (schemas.TITLE,), (schemas.TAGS, schemas.TEXT))
        )
        side = tower.image.pixels
        if not scratch.exists():
            partial = scratch.with_suffix(".partial")
            pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(texts), 3, side, side))
            steps = -(-len(texts) // ITEMS_PER_GROUP)
            start = 0
            for covers in track(dataset.iter_covers(), "Decoding pictures", steps):
                pixels[start : start + len(covers)] = tower.image.prepare(covers)
                start += len(covers)
            pixels.flush()
            partial.replace(scratch)
        tokens, title_tokens, untitled_tokens = (
            tower.text.tokens([text or "" for text in part]) for part in (texts, titles, untitled)
        )
        return cls(
            tokens,
            title_tokens,
            untitled_tokens,
            np.load(scratch, mmap_mode="r"),
            np.array([text is not None for text in texts]),
            dataset.items["n_images"].to_numpy() > 0,
            np.array([bool(title and rest) for title, rest in zip(titles, untitled, strict=True)]),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def inputs(self, rows: RowArray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the tower for the items at ``rows``, as they are."""
        return (
            torch.from_numpy(self.tokens[rows]),
            torch.from_numpy(self.has_text[rows]),
            torch.from_numpy(self.pixels[rows]),
            torch.from_numpy(self.has_image[rows]),
        )

    def augmented(self, rows: RowArray, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same, with some texts lacking their title and pictures shifted and mirrored."""
        _, has_text, _, has_image = self.inputs(rows)
        untitled = self.has_parts[rows] & (random.random(len(rows)) < UNTITLED_SHARE)
        tokens = np.where(untitled[:, None], self.untitled_tokens[rows], self.tokens[rows])
        margin = max(1, round(self.pixels.shape[-1] * CROP))
        pixels = np.pad(self.pixels[rows], ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
        side = self.pixels.shape[-1]
        shifts = random.integers(0, 2 * margin + 1, size=(len(rows), 2))
        mirrored = random.random(len(rows)) < 0.5
        out = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        for i, (y, x) in enumerate(shifts):
            picture = pixels[i, :, y : y + side, x : x + side]
            out[i] = picture[:, :, ::-1] if mirrored[i] else picture
        return torch.from_numpy(tokens), has_text, torch.from_numpy(out), has_image


@dataclass(frozen=True, eq=False)
class BatchSampler:
    """Draws batches; which one depends on the seed and the step alone, so a resumed run continues the same stream.

    Attributes:
        items: rows to draw single items from.
        pairs: behaviour pairs to draw from; may be empty.
        seed: of the stream.
    """

    items: RowArray
    pairs: ItemPairs
    seed: int

    def draw(self, step: int, n_items: int, n_anchors: int, partners: int) -> RowArray:
        """Rows of one batch: single items, then anchors, then partners of the anchors, drawn by pair score.

        Anchors are drawn by the square root of their pairs' mass: head items do not fill the batch, tail items still
        come less often. An item may occur twice.
        """
        random = np.random.default_rng([self.seed, step])
        singles = random.choice(self.items, min(n_items, len(self.items)), replace=False)
        if len(self.pairs) == 0:
            return singles
        mass = np.concatenate([[0.0], np.cumsum(self.pairs.scores, dtype=np.float64)])
        starts = self._starts
        low, high = mass[starts[:-1]], mass[starts[1:]]
        roots = np.cumsum(np.sqrt(high - low))
        anchor = np.searchsorted(roots, random.random(n_anchors) * roots[-1], side="right")
        wanted = low[anchor] + random.random((partners, n_anchors)) * (high - low)[anchor]
        chosen = np.searchsorted(mass, wanted.ravel(), side="right") - 1
        return np.concatenate([singles, self.pairs.a[starts[anchor]], self.pairs.b[chosen]])

    def affinity(self, rows: RowArray) -> Tensor:
        """Pair scores among the items of a batch in either direction, float32 ``[n, n]``."""
        scores = self._matrix[rows][:, rows].toarray()
        return torch.from_numpy(scores + scores.T)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where the pairs of each anchor begin, and the end."""
        new = np.flatnonzero(np.diff(self.pairs.a, prepend=-1))
        return np.append(new, len(self.pairs))

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        size = 1 + max(int(rows.max(initial=0)) for rows in (self.items, self.pairs.a, self.pairs.b))
        return sparse.csr_array((self.pairs.scores, (self.pairs.a, self.pairs.b)), shape=(size, size))
