"""The training loop of every tower: batches by number, early stop, checkpoints that resume exactly.

Every random choice of a step is seeded by (seed, step), and a checkpoint holds weights, optimiser and history. So a run
that was killed ends with the same weights as one that was not, and workers that share a batch draw the same one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsys.ahead import one_ahead
from recsys.config import BaseConfig
from recsys.data.pairs import ItemPairs
from recsys.exceptions import ConfigError
from recsys.progress import say_record, track
from recsys.towers.base import TrainingBatch
from recsys.towers.tower import Tower
from recsys.training import workers
from recsys.training.checkpoint import Checkpoint, Progress
from recsys.training.contrast import ContrastConfig
from recsys.training.ema import Ema
from recsys.training.lora import LoraConfig, add_lora, merge_lora
from recsys.training.optimizer import OptimizerConfig, make_optimizer
from recsys.training.prepared import PreparedItems
from recsys.training.sampler import BatchSampler
from recsys.training.step import TrainingStep
from recsys.training.validation import Validation, hold_out
from recsys.types import FloatArray, RowArray

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TrainerConfig(BaseConfig):
    """How long and how fast to learn, and what from."""

    seed: int = 0
    steps: int = Field(default=400, ge=1)
    items_per_batch: int = Field(default=24, ge=2)  # drawn evenly
    anchors_per_batch: int = Field(default=21, ge=0)  # drawn by behaviour, each with `partners`
    partners: int = Field(default=4, ge=1)
    caption_share: float = Field(default=0.0, ge=0, le=1)  # how often an item's text is one of its captions
    crop: float = Field(default=0.125, ge=0, lt=1)  # largest part of a picture's side that is cut away
    contrast: ContrastConfig = ContrastConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    lora: LoraConfig | None = None
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay of the running average of the weights
    micro_batch: int | None = Field(default=None, ge=1)  # rows at once, where a batch is larger than memory
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: int = Field(default=50, ge=1)
    patience: int = Field(default=4, ge=1)  # evaluations without a better recall before stopping
    validation_share: float = Field(default=0.05, gt=0, lt=0.5)  # of the items, never trained on
    gallery: int = 2000  # trained items that validation items are searched among


def train(
    tower: Tower,
    items: PreparedItems,
    trainable: RowArray,
    pairs: ItemPairs,
    config: TrainerConfig,
    work: Path,
    teacher: Mapping[str, FloatArray] | None = None,
) -> Progress:
    """Train until the validation recall stops rising; the last weights as good as the best are kept.

    Where ``torch.distributed`` is initialised, every worker calls this with the same arguments and computes its share
    of each batch; the first one writes the checkpoints.

    Args:
        tower: trained in place, on its own device.
        items: the catalogue, prepared.
        trainable: rows that may be learned from (those that existed before the split).
        pairs: behaviour pairs among them; may be empty.
        config: see there.
        work: directory for checkpoints.
        teacher: read-outs ``image`` and ``text`` of every item by another tower, to distil from.

    Returns:
        Where it ended, with one record per evaluation: step, losses, recalls.

    Raises:
        ConfigError: a batch does not divide among the workers.
    """
    if config.lora is not None:
        add_lora(tower, config.lora)
    held_out, learned = hold_out(trainable, config.validation_share, config.seed)
    inside = np.isin(pairs.a, learned) & np.isin(pairs.b, learned)
    sizes = (config.items_per_batch, config.anchors_per_batch, config.partners)
    sampler = BatchSampler(learned, pairs.where(inside), config.seed, *sizes)
    own_texts = config.caption_share < 1
    validation = Validation.choose(items, held_out, learned, pairs, config.gallery, own_texts, config.seed)
    if config.contrast.loss == "sigmoid" and not tower.match_bias:
        _start_sigmoid(tower, len(sampler.draw(0)))
    optimizer = make_optimizer(tower, config.optimizer)
    ema = Ema(tower, config.ema) if config.ema is not None else None
    checkpoint = Checkpoint(work)
    progress = checkpoint.resume(tower, optimizer, ema)
    learn = TrainingStep(
        tower, optimizer, config.contrast, config.optimizer, config.micro_batch, PRECISIONS[config.precision], ema
    )
    learn.skipped = progress.skipped
    records: list[dict[str, float]] = []
    batches = _Batches(items, sampler, config, teacher or {}, tower.device)
    numbers = range(progress.step, config.steps)
    for step, arguments in zip(track(numbers, "Training the tower"), one_ahead(batches.at, numbers), strict=True):
        if (step - progress.best_step) >= config.patience * config.evaluate_every:
            break
        torch.manual_seed(int(np.random.default_rng([config.seed, step, workers.rank(), 3]).integers(2**62)))
        records.append(learn(*arguments))
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            progress.step, progress.skipped = step + 1, learn.skipped
            record = {"step": step + 1.0, **_means(records)}
            records.clear()
            if ema is not None:
                with ema.applied():
                    _evaluate(tower, items, validation, progress, record, checkpoint)
            else:
                _evaluate(tower, items, validation, progress, record, checkpoint)
            if workers.rank() == 0:
                checkpoint.save(tower, optimizer, ema, progress)
                say_record(record)
    if workers.rank() == 0:
        checkpoint.load_kept(tower)
        merge_lora(tower)
    return progress


Arguments = tuple[TrainingBatch, Tensor, Tensor | None, Tensor | None, Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class _Batches:
    """What :class:`TrainingStep` is called with, by the number of the step."""

    items: PreparedItems
    sampler: BatchSampler
    config: TrainerConfig
    teacher: Mapping[str, FloatArray]
    device: torch.device

    def at(self, step: int) -> Arguments:
        rows, config, to = self.sampler.draw(step), self.config, self.device
        if len(rows) % workers.count():
            raise ConfigError(
                f"A batch of {len(rows)} items does not divide among {workers.count()} workers.",
                "Change trainer.items_per_batch or trainer.anchors_per_batch.",
            )
        share = workers.share_of(len(rows))
        batch, same = self.items.batch(rows, share, config.seed, step, config.steps, config.caption_share, config.crop)
        affinity = log_q = None
        if len(self.sampler.pairs) and config.anchors_per_batch:
            affinity = self.sampler.affinity(rows).to(to)
            log_q = self.sampler.log_q(rows).to(to) if config.contrast.log_q else None
        teacher = {name: torch.from_numpy(vectors[rows]).to(to) for name, vectors in self.teacher.items()}
        return batch.to(to), same.to(to), affinity, log_q, teacher


def _evaluate(
    tower: Tower,
    items: PreparedItems,
    validation: Validation,
    progress: Progress,
    record: dict[str, float],
    checkpoint: Checkpoint,
) -> None:
    """Complete the record, and keep the weights if they are as good as the best."""
    recalls = validation.recalls(tower, items)
    record |= {**recalls, "recall": float(np.mean([*recalls.values()])) if recalls else 0.0}
    progress.history.append(record)
    if progress.judge(record["recall"], len(validation.held_out)) and workers.rank() == 0:
        checkpoint.keep(tower)


@torch.no_grad()
def _start_sigmoid(tower: Tower, batch: int) -> None:
    """SigLIP's start: temperature 10, and the log odds of a match, of which a batch of n holds n in n * n."""
    tower.match_scale.fill_(math.log(10))
    tower.match_bias.fill_(-math.log(max(1, batch - 1)))


def _means(records: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: float(np.mean([record[name] for record in records if name in record])) for name in names}
