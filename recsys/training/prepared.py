"""PreparedItems: the catalogue as a tower reads it, prepared once: tokens in memory, pictures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys import schemas
from recsys.data.captions import Captions
from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.encoders.image import FeatureEncoder
from recsys.encoders.no_image import NoImages
from recsys.exceptions import ConfigError
from recsys.progress import track
from recsys.towers.base import ALL_PARTS, Note, TowerInputs, TrainingBatch, item_notes, item_texts
from recsys.towers.tower import Tower
from recsys.training.feature_cache import FeatureCache
from recsys.types import RowArray

UNTITLED_SHARE = 0.5
"""How often an item is read without its title, which must then be found by meaning rather than by its own words."""


@dataclass(frozen=True, eq=False)
class PreparedItems:
    """The catalogue in a tower's terms.

    Attributes:
        tokens: of the whole text, int32 ``[n, length]``.
        title_tokens: of the title alone; short texts, as queries are.
        untitled_tokens: of hashtags and body.
        images: pixels, uint8 ``[n, 3, size, size]``, memory-mapped; or states of a frozen encoder, see
            :class:`recsys.towers.base.TowerInputs`.
        has_text: bool ``[n]``.
        has_image: bool ``[n]``.
        has_parts: whether there is a title and more text besides, bool ``[n]``.
        notes: the words of the items.
        caption_tokens: of all captions, int32 ``[captions, length]``.
        captions: which of them are whose.
    """

    tokens: npt.NDArray[np.int32]
    title_tokens: npt.NDArray[np.int32]
    untitled_tokens: npt.NDArray[np.int32]
    images: npt.NDArray[Any]
    has_text: npt.NDArray[np.bool_]
    has_image: npt.NDArray[np.bool_]
    has_parts: npt.NDArray[np.bool_]
    notes: Sequence[Note]
    caption_tokens: npt.NDArray[np.int32]
    captions: Captions

    @classmethod
    def prepare(cls, dataset: Dataset, tower: Tower, scratch: Path, cache: Path, captions: Captions) -> PreparedItems:
        """Tokenise the texts and decode, or encode, every cover once.

        Args:
            dataset: the catalogue.
            tower: whose preprocessing to use.
            scratch: file for the pictures; used as it is when it stands there already.
            cache: folder for the states of a frozen image encoder.
            captions: of the items that may be learned from.

        Raises:
            ConfigError: the tower reads vectors of a width that the items do not bring.
        """
        texts, titles, untitled = (
            item_texts(dataset.items, parts) for parts in (ALL_PARTS, (schemas.TITLE,), (schemas.TAGS, schemas.TEXT))
        )
        images, has_image = _images(dataset, tower, scratch, cache)
        tokens, title_tokens, untitled_tokens, caption_tokens = (
            tower.text.tokens([text or "" for text in part]) for part in (texts, titles, untitled, captions.texts)
        )
        return cls(
            tokens,
            title_tokens,
            untitled_tokens,
            images,
            np.array([text is not None for text in texts], dtype=np.bool_),
            has_image,
            np.array([bool(title and rest) for title, rest in zip(titles, untitled, strict=True)], dtype=np.bool_),
            item_notes(dataset.items),
            caption_tokens,
            captions,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def inputs(self, rows: RowArray) -> TowerInputs:
        """The items at ``rows`` as they are."""
        return TowerInputs(
            torch.from_numpy(self.tokens[rows]),
            torch.from_numpy(self.has_text[rows]),
            self._float(self.images[rows]),
            torch.from_numpy(self.has_image[rows]),
        )

    def batch(
        self, rows: RowArray, share: slice, seed: int, step: int, steps: int, caption_share: float, crop: float
    ) -> tuple[TrainingBatch, Tensor]:
        """The items at ``rows``, augmented: texts lack their title or are a caption, pictures are cut and mirrored.

        Args:
            rows: of the whole batch.
            share: this worker's part of them.
            seed: of the run.
            step: its number.
            steps: of the whole run.
            caption_share: how often the text is one of the item's captions, where it has any.
            crop: largest part of each side that is cut away.

        Returns:
            This worker's part, and which rows of the whole batch show the same, bool ``[n, n]``.
        """
        random = np.random.default_rng([seed, step, 2])
        untitled = self.has_parts[rows] & (random.random(len(rows)) < UNTITLED_SHARE)
        tokens = np.where(untitled[:, None], self.untitled_tokens[rows], self.tokens[rows])
        has_text = self.has_text[rows]
        short, has_short = self.title_tokens[rows], self.has_parts[rows]
        if len(self.caption_tokens):
            chosen, other = self.captions.draw(rows, random), self.captions.draw(rows, random)
            captioned = (chosen >= 0) & (random.random(len(rows)) < caption_share)
            tokens = np.where(captioned[:, None], self.caption_tokens[chosen], tokens)
            has_text = has_text | captioned
            short = np.where((other >= 0)[:, None], self.caption_tokens[other], short)
            has_short = np.where(other >= 0, ~captioned | (chosen != other), has_short)
        cuts = random.random((len(rows), 4))
        mirrored = random.random(len(rows)) < 0.5
        images = self.images[rows[share]]
        if images.dtype == np.uint8:
            images = _augmented(images, cuts[share], mirrored[share], crop)
        inputs = TowerInputs(
            torch.from_numpy(tokens[share]),
            torch.from_numpy(has_text[share]),
            self._float(images),
            torch.from_numpy(self.has_image[rows[share]]),
        )
        same = torch.from_numpy(self._same(rows, tokens, has_text))
        batch = TrainingBatch(
            step=step,
            steps=steps,
            rows=torch.from_numpy(rows[share].astype(np.int64)),
            inputs=inputs,
            captions=torch.from_numpy(short[share]),
            has_caption=torch.from_numpy(has_short[share]),
            same=same[share, share],
            notes=[self.notes[row] for row in rows[share]],
            random=torch.Generator().manual_seed(int(random.integers(2**62))),
        )
        return batch, same

    def _same(
        self, rows: RowArray, tokens: npt.NDArray[np.int32], has_text: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """One item, one picture or one text, bool ``[n, n]``."""
        text = np.unique(tokens, axis=0, return_inverse=True)[1].ravel()
        text = np.where(has_text, text, -1 - np.arange(len(rows)))
        picture = np.array([hash(self.images[row].tobytes()) for row in rows])
        picture = np.where(self.has_image[rows], picture, np.arange(len(rows)))
        same: npt.NDArray[np.bool_] = rows[:, None] == rows
        for group in (text, picture):
            same |= group[:, None] == group
        return same

    def _float(self, images: npt.NDArray[Any]) -> Tensor:
        """Pixels as they are, cached states as float32."""
        return torch.from_numpy(images if images.dtype == np.uint8 else images.astype(np.float32))


def _images(
    dataset: Dataset, tower: Tower, scratch: Path, cache: Path
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    encoder = tower.image
    n = len(dataset.items)
    if isinstance(encoder, NoImages):
        return np.zeros((n, 1), np.float32), np.zeros(n, np.bool_)
    if isinstance(encoder, FeatureEncoder):
        read, brought = encoder.vectors, dataset.feature_width
        if brought != read:
            raise ConfigError(
                f"The tower reads vectors of width {read}, the items bring {brought or 'none'}.",
                "Set tower.image.width to the width of the items' vectors, or tower.image.kind to read pictures.",
            )
        return dataset.image_features(range(n))
    has_image = dataset.items["n_images"].to_numpy() > 0
    if encoder.frozen:
        covers = (cover for part in dataset.iter_covers() for cover in part)
        features = FeatureCache(cache, encoder, pooled=not tower.reads_states)
        return features.states(track(covers, "Encoding pictures", n)), has_image
    if not scratch.exists():
        partial = scratch.with_suffix(".partial")
        pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, (n, 3, encoder.pixels, encoder.pixels))
        start = 0
        for part in track(dataset.iter_covers(), "Decoding pictures", -(-n // ITEMS_PER_GROUP)):
            pixels[start : start + len(part)] = encoder.prepare(part)
            start += len(part)
        pixels.flush()
        partial.replace(scratch)
    return np.load(scratch, mmap_mode="r"), has_image


def _augmented(
    pixels: npt.NDArray[np.uint8], cuts: npt.NDArray[np.float64], mirrored: npt.NDArray[np.bool_], crop: float
) -> npt.NDArray[np.uint8]:
    """Each picture cut at its four sides by up to ``crop`` of its side, scaled back, and mirrored where it says so."""
    side = pixels.shape[-1]
    top, bottom, left, right = (cuts.T * crop * side / 2).round().astype(int)
    out = np.empty_like(pixels)
    grid = np.arange(side)
    for i in range(len(pixels)):
        y = top[i] + grid * (side - top[i] - bottom[i]) // side
        x = left[i] + grid * (side - left[i] - right[i]) // side
        out[i] = pixels[i][:, y[:, None], x[::-1] if mirrored[i] else x]
    return out
