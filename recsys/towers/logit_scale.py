"""CLIP's learned temperature: a log parameter, used as ``exp``, kept in [1, 100] (2103.00020)."""

from __future__ import annotations

import math

import torch
from torch import nn

INITIAL = math.log(1 / 0.07)
LARGEST = math.log(100)


@torch.no_grad()
def clamp_logit_scale(scale: nn.Parameter) -> None:
    """Keep the scale in its range; call after each optimiser step."""
    scale.clamp_(0.0, LARGEST)
