"""The training loop of the CLIP tower: two kinds of pairs, early stop, checkpoints that resume exactly.

Every random choice of a step is seeded by (seed, step), and a checkpoint holds weights, optimiser and history in one
file that is replaced atomically. So a run that was killed ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys.config import BaseConfig
from recsys.data.pairs import ItemPairs
from recsys.progress import track
from recsys.towers.clip import ClipTower
from recsys.towers.logit_scale import clamp_logit_scale
from recsys.training.batches import BatchSampler, PreparedItems
from recsys.training.losses import info_nce, pair_info_nce
from recsys.types import FloatArray, RowArray


class TrainerConfig(BaseConfig):
    """How long and how fast to learn, and what from."""

    seed: int = 0
    steps: int = Field(default=400, ge=1)
    items_per_batch: int = Field(default=24, ge=2)  # drawn evenly
    anchors_per_batch: int = Field(default=21, ge=0)  # drawn by behaviour, each with `partners`
    partners: int = Field(default=4, ge=1)
    match_weight: float = 0.2  # of image <-> text, against item <-> item
    query_weight: float = 0.25  # of title <-> text, title <-> item, picture <-> item: what searches compare
    single_weight: float = 0.5  # of item <-> item by text alone, and by picture alone
    learning_rate: float = 1e-3
    warmup_steps: int = 40
    weight_decay: float = 0.05
    evaluate_every: int = Field(default=50, ge=1)
    patience: int = Field(default=4, ge=1)  # evaluations without a better recall before stopping
    validation_share: float = Field(default=0.05, gt=0, lt=0.5)  # of the items, never trained on
    gallery: int = 2000  # trained items that validation items are searched among


@dataclass
class Progress:
    """Where training stands."""

    step: int = 0
    best_recall: float = -1.0
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    tower: ClipTower, items: PreparedItems, trainable: RowArray, pairs: ItemPairs, config: TrainerConfig, work: Path
) -> list[dict[str, float]]:
    """Train until the validation recall stops rising; the tower ends with the best weights seen.

    Args:
        tower: trained in place.
        items: the catalogue, prepared.
        trainable: rows that may be learned from (those that existed before the split).
        pairs: behaviour pairs among them; may be empty.
        config: see there.
        work: directory for checkpoints, as ``.checkpoint.safetensors`` and ``.best.safetensors``.

    Returns:
        One record per evaluation: step, loss, recalls.
    """
    held_out, learned = _hold_out(trainable, config)
    inside = np.isin(pairs.a, learned) & np.isin(pairs.b, learned)
    sampler = BatchSampler(learned, pairs.where(inside), config.seed)
    validation = Validation.choose(held_out, learned, pairs, config)
    optimizer = _optimizer(tower, config)
    progress = _resume(tower, optimizer, work)
    losses: list[float] = []
    for step in track(range(progress.step, config.steps), "Training the tower"):
        if (step - progress.best_step) >= config.patience * config.evaluate_every:
            break
        losses.append(_step(tower, optimizer, items, sampler, config, step))
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            recalls = validation.recalls(tower, items)
            recall = float(np.mean([*recalls.values()])) if recalls else 0.0
            progress.step = step + 1
            progress.history.append({"step": step + 1, "loss": float(np.mean(losses)), **recalls, "recall": recall})
            losses.clear()
            if recall > progress.best_recall:
                progress.best_recall, progress.best_step = recall, step + 1
                _save(work / ".best.safetensors", dict(tower.state_dict()), {})
            _checkpoint(tower, optimizer, progress, work)
            sys.stderr.write(
                f"step {step + 1}: " + " ".join(f"{k} {v:.3f}" for k, v in progress.history[-1].items()) + "\n"
            )
    tower.load_state_dict(load_file(work / ".best.safetensors"))
    return progress.history


@dataclass(frozen=True, eq=False)
class Validation:
    """Items never trained on: does the picture find its text, and does the item find what people engage with next?

    Attributes:
        held_out: rows of the validation items.
        gallery: rows they search their partners among.
        partners: rows of each validation item's partners inside the gallery.
    """

    held_out: RowArray
    gallery: RowArray
    partners: Sequence[RowArray]

    @classmethod
    def choose(cls, held_out: RowArray, learned: RowArray, pairs: ItemPairs, config: TrainerConfig) -> Validation:
        random = np.random.default_rng([config.seed, 1])
        gallery = np.sort(random.choice(learned, min(config.gallery, len(learned)), replace=False))
        partners = [np.intersect1d(pairs.b[pairs.a == row], gallery) for row in held_out]
        return cls(held_out, gallery, partners)

    def recalls(self, tower: ClipTower, items: PreparedItems, k: int = 10) -> dict[str, float]:
        """Recall@k of picture -> own text, and of item -> partners; only those that the data allows."""
        out = {}
        held_out = _encode(tower, items, self.held_out)
        both = items.has_text[self.held_out] & items.has_image[self.held_out]
        if both.any():
            similarity = held_out["image"][both] @ held_out["text"][both].T
            own = np.diagonal(similarity)[:, None]
            out["match_recall"] = float((np.sum(similarity > own, axis=1) < k).mean())
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


def _hold_out(trainable: RowArray, config: TrainerConfig) -> tuple[RowArray, RowArray]:
    random = np.random.default_rng([config.seed, 0])
    shuffled = random.permutation(trainable)
    count = max(1, round(len(trainable) * config.validation_share))
    return np.sort(shuffled[:count]), np.sort(shuffled[count:])


def _step(
    tower: ClipTower,
    optimizer: torch.optim.AdamW,
    items: PreparedItems,
    sampler: BatchSampler,
    config: TrainerConfig,
    step: int,
) -> float:
    torch.manual_seed(config.seed * 1_000_003 + step)
    rows = sampler.draw(step, config.items_per_batch, config.anchors_per_batch, config.partners)
    tower.train()
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(step, config)
    out = tower(*items.augmented(rows, np.random.default_rng([config.seed, step, 1])))
    loss = _content_loss(tower, out, items, rows, config)
    if len(sampler.pairs):
        loss = loss + _pair_loss(tower, out, items, rows, sampler.affinity(rows), config)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
    optimizer.step()
    clamp_logit_scale(tower.match_scale)
    clamp_logit_scale(tower.pair_scale)
    return float(loss.detach())


def _content_loss(
    tower: ClipTower, out: dict[str, Tensor], items: PreparedItems, rows: RowArray, config: TrainerConfig
) -> Tensor:
    """Picture <-> text of one item, and the item as a search finds it: by its title and by its picture."""
    ids = torch.from_numpy(rows)
    both = torch.from_numpy(items.has_text[rows] & items.has_image[rows])
    match = info_nce(out["image"][both], out["text"][both], tower.match_scale, ids[both])
    titled = torch.from_numpy(items.has_parts[rows])
    titles = tower.read_text(torch.from_numpy(items.title_tokens[rows[titled.numpy()]]))
    queries = [
        info_nce(titles, out["text"][titled], tower.match_scale, ids[titled]),
        info_nce(titles, out["fused"][titled], tower.match_scale, ids[titled]),
        info_nce(out["image"][both], out["fused"][both], tower.match_scale, ids[both]),
    ]
    return config.match_weight * match + config.query_weight * sum(queries, torch.zeros(()))


def _pair_loss(
    tower: ClipTower,
    out: dict[str, Tensor],
    items: PreparedItems,
    rows: RowArray,
    affinity: Tensor,
    config: TrainerConfig,
) -> Tensor:
    """Item <-> item by both modalities, and by each alone so that neither is ignored (2405.16789)."""
    ids = torch.from_numpy(rows)
    loss = pair_info_nce(out["fused"], tower.pair_scale, affinity, ids)
    for name, present in (("text", items.has_text[rows]), ("image", items.has_image[rows])):
        kept = torch.from_numpy(np.flatnonzero(present))
        alone = pair_info_nce(out[name][kept], tower.pair_scale, affinity[kept][:, kept], ids[kept])
        loss = loss + config.single_weight * alone
    return loss


def _schedule(step: int, config: TrainerConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _optimizer(tower: ClipTower, config: TrainerConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in tower.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in tower.parameters() if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)


@torch.inference_mode()
def _encode(tower: ClipTower, items: PreparedItems, rows: RowArray, batch_size: int = 256) -> dict[str, FloatArray]:
    tower.eval()
    parts = [tower(*items.inputs(rows[start : start + batch_size])) for start in range(0, len(rows), batch_size)]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _checkpoint(tower: ClipTower, optimizer: torch.optim.AdamW, progress: Progress, work: Path) -> None:
    tensors = {f"tower.{name}": tensor for name, tensor in tower.state_dict().items()}
    for parameter, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{parameter}.{name}": tensor for name, tensor in state.items()})
    _save(work / ".checkpoint.safetensors", tensors, {"progress": json.dumps(progress.__dict__)})


def _resume(tower: ClipTower, optimizer: torch.optim.AdamW, work: Path) -> Progress:
    file = work / ".checkpoint.safetensors"
    if not file.exists():
        return Progress()
    tensors = load_file(file)
    prefix = "tower."
    tower.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, parameter, key = name.split(".")
            state.setdefault(int(parameter), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    with safe_open(file, "pt") as opened:
        return Progress(**json.loads(opened.metadata()["progress"]))


def _save(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    partial = file.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    partial.replace(file)
