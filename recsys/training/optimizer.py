"""Optimiser and learning rate: which parameter learns how fast."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from pydantic import Field
from torch import nn

from recsys.config import BaseConfig
from recsys.towers.tower import Tower

_LAYER = re.compile(r"^(?P<encoder>.*?)\.(?:layers?|stages|h)\.(?P<number>\d+)\.")
_BOTTOM = re.compile(r"embed")
_BACKBONE = re.compile(r"^(?P<side>\w+)\.(?:backbone|model)\.")  # of encoders, and of language models


class OptimizerConfig(BaseConfig):
    """AdamW with warm-up and cosine decay (2103.00020)."""

    learning_rate: float = Field(default=1e-3, ge=0)
    warmup_steps: int = Field(default=40, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # of the rate, per layer down from the top of each encoder
    backbone_rate: float = Field(default=1.0, ge=0)  # of the rate, for what came from a checkpoint
    largest_norm: float = Field(default=10.0, gt=0)  # of all gradients together; more is scaled down


def make_optimizer(tower: Tower, config: OptimizerConfig) -> torch.optim.AdamW:
    """One parameter group for each pair of rate and weight decay; parameters of one dimension are never decayed."""
    deepest = _layers_by_encoder(tower)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in tower.named_parameters():
        if parameter.requires_grad:
            key = (_rate(name, deepest, config), parameter.ndim >= 2)
            groups.setdefault(key, []).append(parameter)
    made: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "lr": rate * config.learning_rate,
        }
        for (rate, decayed), parameters in groups.items()
    ]
    convolutional = tower.image.kind in ("resnet", "mobilenet_v1")
    betas, eps = ((0.9, 0.999), 1e-8) if convolutional else ((0.9, 0.98), 1e-6)
    return torch.optim.AdamW(made, betas=betas, eps=eps, fused=True)


def scheduled(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the full rate at a step: linear warm-up, then half a cosine down to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _layers_by_encoder(tower: Tower) -> dict[str, int]:
    deepest: dict[str, int] = {}
    for name, _ in tower.named_parameters():
        if found := _LAYER.match(name):
            encoder = found["encoder"]
            deepest[encoder] = max(deepest.get(encoder, 0), int(found["number"]) + 1)
    return deepest


def _rate(name: str, deepest: dict[str, int], config: OptimizerConfig) -> float:
    """A top layer learns at the full rate, each below it ``layer_decay`` slower, embeddings slowest."""
    backbone = _BACKBONE.match(name)
    base = config.backbone_rate if backbone else 1.0
    if found := _LAYER.match(name):
        return base * config.layer_decay ** (deepest[found["encoder"]] - 1 - int(found["number"]))
    encoders = [encoder for encoder in deepest if backbone and encoder.split(".")[0] == backbone["side"]]
    if encoders and _BOTTOM.search(name):
        return base * float(config.layer_decay ** max(deepest[encoder] for encoder in encoders))
    return base
