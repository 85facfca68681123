"""How far a tower's matching holds on pairs it never learned from, when what retrieval found is put in order."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from recsys.data.captions import NO_CAPTION
from recsys.towers.abilities import Matching
from recsys.training.prepared import PreparedItems
from recsys.types import FloatArray, RowArray

MOST_ITEMS = 256
AMONG = 32
"""Pictures a text is judged beside: its own and the nearest others."""
HEAVIEST = 2.0
PAIRS_AT_ONCE = 512


@torch.inference_mode()
def fit_match_weight(tower: Matching, items: PreparedItems, held_out: RowArray, seed: int) -> None:
    """Set ``tower.match_weight`` to what makes the right pictures likeliest.

    A text's picture is chosen by the softmax of cosine / temperature + weight * log odds among the nearest ones. A head
    that learned its training pairs by heart gets a weight near 0 and changes no order for the worse.

    Args:
        tower: trained.
        items: the catalogue.
        held_out: rows of items that were not learned from; those with a picture and a caption, or else a text, count.
        seed: of which captions, and which items where there are many.
    """
    tower.eval()
    random = np.random.default_rng([seed, 3])
    captions = items.captions.draw(held_out, random)
    captioned = captions != NO_CAPTION
    usable = np.flatnonzero(items.has_image[held_out] & (captioned | items.has_text[held_out]))
    usable = np.sort(random.permutation(usable)[:MOST_ITEMS])
    if len(usable) < 2:
        return
    inputs = items.inputs(held_out[usable]).to(tower.device)
    tokens = inputs.tokens.clone()
    own = captioned[usable]
    tokens[own] = torch.from_numpy(items.caption_tokens[captions[usable[own]]]).to(tower.device)
    images = torch.cat([tower.image.states(part) for part in inputs.images.split(PAIRS_AT_ONCE)])
    text = torch.cat([tower.read_text(part) for part in tokens.split(PAIRS_AT_ONCE)])
    image = torch.cat([tower.read_image(part) for part in inputs.images.split(PAIRS_AT_ONCE)])
    likeness = (text @ image.T).float() / tower.contrast_temperature
    likeness.fill_diagonal_(torch.inf)  # a text's own picture comes first
    nearest = likeness.topk(min(AMONG, len(usable)), dim=1).indices
    odds = _odds(tower, tokens, images, nearest)
    cosines = (text[:, None] * image[nearest]).sum(dim=2).float().cpu().numpy() / tower.contrast_temperature

    def surprise(weight: float) -> float:
        scores = cosines + weight * odds
        highest = scores.max(axis=1)
        return float((highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - scores[:, 0]).mean())

    best = minimize_scalar(surprise, bounds=(0, HEAVIEST), method="bounded", options={"xatol": 1e-3})
    tower.match_weight.fill_(best.x)


def _odds(tower: Matching, tokens: Tensor, images: Tensor, nearest: Tensor) -> FloatArray:
    """Log odds of each text beside each of its pictures, ``[n, k]``."""
    texts = torch.arange(len(nearest), device=nearest.device).repeat_interleave(nearest.size(1))
    pairs = zip(texts.split(PAIRS_AT_ONCE), nearest.ravel().split(PAIRS_AT_ONCE), strict=True)
    odds = [tower.match_logits(tokens[some], images[which]).float().cpu() for some, which in pairs]
    return torch.cat(odds).numpy().reshape(nearest.shape)
