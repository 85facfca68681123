"""Validation, on items never trained on: does a text find its picture, and an item what people engage with next?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from recsys.data.captions import NO_CAPTION
from recsys.data.pairs import ItemPairs
from recsys.towers.base import READ_OUTS
from recsys.towers.tower import Tower
from recsys.training.prepared import PreparedItems
from recsys.types import FloatArray, RowArray

ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Validation:
    """What to measure between the steps.

    Attributes:
        held_out: rows of the validation items.
        gallery: rows they search their partners among.
        partners: rows of each validation item's partners inside the gallery.
        captions: number of one caption of each validation item, ``NO_CAPTION`` where it has none.
        own_texts: whether items' own texts are learned from, rather than captions in their place.
    """

    held_out: RowArray
    gallery: RowArray
    partners: Sequence[RowArray]
    captions: npt.NDArray[np.int64]
    own_texts: bool

    @classmethod
    def choose(
        cls,
        items: PreparedItems,
        held_out: RowArray,
        learned: RowArray,
        pairs: ItemPairs,
        gallery: int,
        own_texts: bool,
        seed: int,
    ) -> Validation:
        """Draw the gallery and the captions.

        Args:
            items: the catalogue.
            held_out: validation items.
            learned: all others.
            pairs: behaviour pairs; may be empty.
            gallery: how many of ``learned`` to search among.
            own_texts: see above.
            seed: of the run.
        """
        random = np.random.default_rng([seed, 1])
        among = np.sort(random.choice(learned, min(gallery, len(learned)), replace=False))
        partners = [np.intersect1d(pairs.b[pairs.a == row], among) for row in held_out]
        return cls(held_out, among, partners, items.captions.draw(held_out, random), own_texts)

    def recalls(self, tower: Tower, items: PreparedItems, k: int = 10) -> dict[str, float]:
        """Recall@k of caption -> picture, of picture -> own text, of item -> partners; those that the data allows."""
        tower.eval()
        out = {}
        held_out = _encode(tower, items, self.held_out)
        has_image = items.has_image[self.held_out]
        captioned = has_image & (self.captions != NO_CAPTION)
        if captioned.any():
            queries = _encode_texts(tower, items, self.captions[captioned])
            out["caption_recall"] = _diagonal_recall(queries @ held_out["image"][captioned].T, k)
        both = items.has_text[self.held_out] & has_image & self.own_texts
        if both.any():
            out["match_recall"] = _diagonal_recall(held_out["image"][both] @ held_out["text"][both].T, k)
        with_partners = [i for i, rows in enumerate(self.partners) if len(rows)]
        if with_partners:
            gallery = _encode(tower, items, self.gallery)["fused"]
            similarity = held_out["fused"][with_partners] @ gallery.T
            top = self.gallery[np.argpartition(-similarity, min(k, similarity.shape[1] - 1), axis=1)[:, :k]]
            found = [
                len(np.intersect1d(rows, self.partners[i])) / min(k, len(self.partners[i]))
                for i, rows in zip(with_partners, top, strict=True)
            ]
            out["pair_recall"] = float(np.mean(found))
        return out


def hold_out(trainable: RowArray, share: float, seed: int) -> tuple[RowArray, RowArray]:
    """Divide what may be learned from into validation items and those that are learned from, each ascending.

    Args:
        trainable: item rows.
        share: of them that validate; at least one.
        seed: of the run.
    """
    shuffled = np.random.default_rng([seed, 0]).permutation(trainable)
    count = max(1, round(len(trainable) * share))
    return np.sort(shuffled[:count]), np.sort(shuffled[count:])


def _diagonal_recall(similarity: FloatArray, k: int) -> float:
    own = np.diagonal(similarity)[:, None]
    better, tied = np.sum(similarity > own, axis=1), np.sum(similarity == own, axis=1) - 1
    return float((better + tied / 2 < k).mean())


@torch.inference_mode()
def _encode(tower: Tower, items: PreparedItems, rows: RowArray) -> dict[str, FloatArray]:
    starts = range(0, len(rows), ROWS_AT_ONCE)
    parts = [tower(items.inputs(rows[start : start + ROWS_AT_ONCE]).to(tower.device)) for start in starts]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in READ_OUTS}


@torch.inference_mode()
def _encode_texts(tower: Tower, items: PreparedItems, captions: npt.NDArray[np.int64]) -> FloatArray:
    tokens = torch.from_numpy(items.caption_tokens[captions])
    return torch.cat([tower.read_text(part.to(tower.device)) for part in tokens.split(ROWS_AT_ONCE)]).cpu().numpy()
