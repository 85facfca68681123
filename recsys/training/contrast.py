"""What of a batch is pulled together: read-outs of one item, and items that the same people engage with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from recsys.config import BaseConfig
from recsys.towers.base import READ_OUTS
from recsys.towers.tower import Tower, unit
from recsys.training.losses import distillation, info_nce, pair_info_nce, sigmoid_loss

CAPTION = "caption"
VIEWS = (*READ_OUTS, CAPTION)


class ContrastConfig(BaseConfig):
    """Weights of the contrastive terms.

    ``views`` names two views of one item: ``image``, ``text``, ``fused`` and ``caption``, the short text that a search
    would use. ``behaviour`` names read-outs by which an item finds its partners: by both modalities, and by each alone
    so that neither is ignored (2405.16789).
    """

    views: dict[str, float] = Field(
        default={"image-text": 0.2, "caption-text": 0.25, "caption-fused": 0.25, "image-fused": 0.25}
    )
    behaviour: dict[str, float] = Field(default={"fused": 1.0, "text": 0.5, "image": 0.5})
    loss: Literal["info_nce", "sigmoid"] = "info_nce"  # between views
    log_q: bool = False  # correct the behaviour terms for how often an item is drawn
    largest_cosine: float = Field(default=0.98, gt=0, le=1)  # closer to a positive than this is no negative
    distil: float = Field(default=0.0, ge=0)  # weight of a teacher's image-text similarities

    @field_validator("views")
    @classmethod
    def _two_views(cls, views: dict[str, float]) -> dict[str, float]:
        for name in views:
            a, _, b = name.partition("-")
            if a not in VIEWS or b not in VIEWS or a == b:
                raise ValueError(f"{name!r} does not name two of {', '.join(VIEWS)}, such as image-text")
        return views

    @field_validator("behaviour")
    @classmethod
    def _read_outs(cls, behaviour: dict[str, float]) -> dict[str, float]:
        if unknown := behaviour.keys() - set(READ_OUTS):
            raise ValueError(f"{sorted(unknown)[0]!r} is none of {', '.join(READ_OUTS)}")
        return behaviour

    def wanted(self, with_behaviour: bool) -> set[str]:
        """Views that a step has to compute."""
        views = {view for name, weight in self.views.items() if weight for view in name.split("-")}
        if self.distil:
            views |= {"image", "text"}
        return views | ({name for name, weight in self.behaviour.items() if weight} if with_behaviour else set())


def contrastive_losses(
    tower: Tower,
    views: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    same: Tensor,
    affinity: Tensor | None,
    log_q: Tensor | None,
    teacher: Mapping[str, Tensor],
    config: ContrastConfig,
) -> dict[str, Tensor]:
    """Weighted losses by name, each the mean over the widths that the tower is to serve (Matryoshka, 2205.13147).

    Args:
        tower: whose temperatures to use.
        views: unit vectors by name, each ``[n, d]``.
        present: which rows have a text, an image, a caption, bool ``[n]`` each.
        same: see :func:`recsys.training.losses.info_nce`.
        affinity: behaviour scores ``[n, n]``; ``None`` where nothing is learned from behaviour.
        log_q: see :func:`recsys.training.losses.pair_info_nce`.
        teacher: image and text vectors of a teacher, ``[n, e]`` each; empty without one.
        config: see there.
    """
    widths = (*tower.widths, tower.full_width)
    losses: dict[str, Tensor] = {}

    def add(name: str, weight: float, loss: Tensor) -> None:
        losses[name] = losses.get(name, torch.zeros((), device=loss.device)) + weight / len(widths) * loss

    for width in widths:
        cut = {name: view if width == tower.full_width else unit(view[:, :width]) for name, view in views.items()}
        for name, weight in config.views.items():
            if weight:
                a, b = name.split("-")
                kept = _shows_both(a, b, present)
                add(name, weight, _between(tower, cut[a][kept], cut[b][kept], same[kept][:, kept], config))
        if config.distil and teacher:
            kept = present["image"] & present["text"]
            student, taught = (cut["image"][kept], cut["text"][kept]), (teacher["image"][kept], teacher["text"][kept])
            add("distil", config.distil, distillation(*student, *taught, tower.match_scale))
        for name, weight in config.behaviour.items() if affinity is not None else ():
            if weight and affinity is not None:
                kept = torch.ones_like(present["text"]) if name == "fused" else present[name]
                q = None if log_q is None else log_q[kept]
                rows, scores = same[kept][:, kept], affinity[kept][:, kept]
                loss = pair_info_nce(cut[name][kept], tower.pair_scale, scores, rows, q, config.largest_cosine)
                add(f"behaviour-{name}", weight, loss)
    return losses


def _between(tower: Tower, a: Tensor, b: Tensor, same: Tensor, config: ContrastConfig) -> Tensor:
    if config.loss == "sigmoid":
        return sigmoid_loss(a, b, tower.match_scale, tower.match_bias, same)
    return info_nce(a, b, tower.match_scale, same)


def _shows_both(a: str, b: str, present: Mapping[str, Tensor]) -> Tensor:
    """Rows that have both views, and in which ``fused`` is more than the other one."""
    fused = present["text"] & present["image"] if CAPTION not in (a, b) else present["text"] | present["image"]
    has = {**present, "fused": fused}
    return has[a] & has[b]
