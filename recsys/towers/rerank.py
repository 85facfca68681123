"""Search looked at again: what retrieval found, put in order by a tower that sees text and picture together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recsys.towers.abilities import Matching
from recsys.towers.tower import ROWS_AT_ONCE
from recsys.types import FloatArray, Image


@torch.inference_mode()
def rerank_by_match(
    tower: Matching, text: str, images: Sequence[Image | FloatArray | None], cosines: FloatArray
) -> FloatArray:
    """Scores of the k candidates of one search: cosine / temperature plus the log odds of a match, by their weight.

    Matching learns beside wrong pairs that are drawn by the softmax of cosine / temperature. Its log odds are therefore
    what is to be added to that (noise-contrastive estimation, Gutmann and Hyvärinen 2010): alone, or beside the bare
    cosine as in BLIP's own code (2201.12086), they lack most of what retrieval knew. How far they hold on pairs never
    learned from is what :func:`recsys.training.match_weight.fit_match_weight` found.

    A candidate without a picture cannot be judged: it counts as a match of average odds among those that can, so only
    its cosine speaks for or against it.

    Args:
        tower: judges.
        text: the query.
        images: pictures of the candidates, ``None`` where there is none.
        cosines: of query and candidates, ``[k]``.

    Returns:
        float32 ``[k]``; ``np.argsort(-scores, kind="stable")`` is the new order.
    """
    tower.eval()
    seen = [place for place, image in enumerate(images) if image is not None]
    tokens = torch.from_numpy(tower.text.tokens([text])).to(tower.device)
    odds = np.zeros(len(images), np.float32)
    for start in range(0, len(seen), ROWS_AT_ONCE):
        places = seen[start : start + ROWS_AT_ONCE]
        pictures = torch.from_numpy(tower.image.prepare([images[place] for place in places])).to(tower.device)
        odds[places] = tower.match_logits(tokens.expand(len(places), -1), pictures).float().cpu().numpy()
    if seen:
        odds[[image is None for image in images]] = odds[seen].mean()
    return np.asarray(cosines, np.float32) / np.float32(tower.contrast_temperature) + tower.match_weight.item() * odds
