"""Checkpoint: what an interrupted run needs to go on as if nothing had happened, in one file replaced atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recsys.towers.weights import load_weights, unique_weights
from recsys.training.ema import Ema

TOWER, OPTIMIZER, AVERAGE = "tower.", "optimizer.", "average."


@dataclass
class Progress:
    """Where training stands."""

    step: int = 0
    best_recall: float = -1.0
    best_step: int = 0
    kept_step: int = 0
    skipped: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def kept(self) -> dict[str, float]:
        """The record of the weights that were kept."""
        return next(record for record in self.history if record["step"] == self.kept_step)

    def judge(self, recall: float, count: int) -> bool:
        """Take in the recall over ``count`` validation items or users; whether the weights of this step are to be kept.

        They are, unless they are worse than the best by more than chance explains: among recalls that differ by less
        than their standard error, the first is no better than the last, which has learned longest (the
        one-standard-error rule of Breiman et al., 1984).
        """
        if recall > self.best_recall:
            self.best_recall, self.best_step = recall, self.step
        error = math.sqrt(self.best_recall * (1 - self.best_recall) / max(count, 1))
        kept = recall >= self.best_recall - error
        if kept:
            self.kept_step = self.step
        return kept


@dataclass(frozen=True)
class Checkpoint:
    """The files of one run: ``.checkpoint.safetensors``, from which it goes on, and ``.kept.safetensors``.

    Args:
        work: directory of the run.
    """

    work: Path

    def save(self, tower: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None, progress: Progress) -> None:
        tensors = {TOWER + name: tensor for name, tensor in unique_weights(tower).items()}
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors.update({f"{OPTIMIZER}{parameter}.{name}": tensor for name, tensor in state.items()})
        if ema is not None:
            tensors.update({AVERAGE + name: tensor for name, tensor in ema.average.items()})
        _write(self._file, tensors, {"progress": json.dumps(asdict(progress))})

    def resume(self, tower: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> Progress:
        """Restore the last state, if there is one."""
        if not self._file.exists():
            return Progress()
        tensors = load_file(self._file)
        load_weights(tower, _under(TOWER, tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(OPTIMIZER, tensors).items():
            parameter, key = name.split(".")
            state.setdefault(int(parameter), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        if ema is not None:
            ema.load(_under(AVERAGE, tensors))
        with safe_open(self._file, "pt") as opened:
            return Progress(**json.loads(opened.metadata()["progress"]))

    def keep(self, tower: nn.Module) -> None:
        _write(self._kept, unique_weights(tower), {})

    def load_kept(self, tower: nn.Module) -> None:
        load_weights(tower, load_file(self._kept))

    @property
    def _file(self) -> Path:
        return self.work / ".checkpoint.safetensors"

    @property
    def _kept(self) -> Path:
        return self.work / ".kept.safetensors"


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _write(file: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    partial = file.with_suffix(".partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
    partial.replace(file)
