"""TrainingStep: one step of any tower: views, losses, gradients, update; in one pass or, exactly equal, in two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recsys.towers.base import READ_OUTS, TrainingBatch
from recsys.towers.tower import Tower
from recsys.training import workers
from recsys.training.contrast import CAPTION, ContrastConfig, contrastive_losses
from recsys.training.ema import Ema
from recsys.training.optimizer import OptimizerConfig, scheduled


@dataclass
class TrainingStep:
    """Carries out the steps of one run.

    With ``micro_batch`` a batch is larger than memory: views are first computed without a graph, the contrastive loss
    of the whole batch gives each view its gradient, and each part is computed again with a graph and takes its gradient
    from there (GradCache, 2101.06983). The parts replay the chance of the first pass (dropout), and temperatures get
    their gradient once, so the result is that of one large batch; families' own objectives are means over the parts.

    Attributes:
        tower: trained in place.
        optimizer: of its parameters.
        contrast: what is pulled together.
        rates: learning rate and largest gradient.
        micro_batch: rows at once; ``None`` for all.
        precision: of the matrix products.
        ema: average of the weights to keep, if any.
        skipped: steps whose gradient was not finite and that changed nothing.
    """

    tower: Tower
    optimizer: torch.optim.Optimizer
    contrast: ContrastConfig
    rates: OptimizerConfig
    micro_batch: int | None
    precision: torch.dtype
    ema: Ema | None
    skipped: int = 0
    base_rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.has_objective = self.tower.has_objective

    def __call__(
        self,
        batch: TrainingBatch,
        same: Tensor,
        affinity: Tensor | None,
        log_q: Tensor | None,
        teacher: Mapping[str, Tensor],
    ) -> dict[str, float]:
        """Learn from one batch; returns the losses by name, and their sum as ``loss``.

        Args:
            batch: this worker's rows; the arguments below are of all workers' rows.
            same: see :func:`recsys.training.contrast.contrastive_losses`.
            affinity: likewise.
            log_q: likewise.
            teacher: likewise.
        """
        tower = self.tower.train()
        tower.before_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        inputs = batch.inputs
        present = {
            "text": workers.gather(inputs.has_text),
            "image": workers.gather(inputs.has_image),
            CAPTION: workers.gather(batch.has_caption),
        }

        def contrast(views: Mapping[str, Tensor]) -> dict[str, Tensor]:
            gathered = {name: workers.gather(view) for name, view in views.items()}
            return contrastive_losses(tower, gathered, present, same, affinity, log_q, teacher, self.contrast)

        wanted = self.contrast.wanted(affinity is not None)
        if self.micro_batch is None or self.micro_batch >= len(batch):
            with self._autocast():
                views, out = self._views(batch, slice(None), wanted)
            losses = {**contrast(views), **self._objective(batch, out)}
            if losses:
                torch.stack([*losses.values()]).sum().backward()
        else:
            losses = self._two_passes(batch, wanted, contrast)
        return self._update(batch, {name: float(loss.detach()) for name, loss in losses.items()})

    def _two_passes(
        self, batch: TrainingBatch, wanted: set[str], contrast: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        assert self.micro_batch is not None
        parts = [slice(start, start + self.micro_batch) for start in range(0, len(batch), self.micro_batch)]
        states, cached = [], []
        statistics = {name: buffer.clone() for name, buffer in self.tower.named_buffers() if "running_" in name}
        for part in parts:
            states.append(_chance(self.tower.device))
            with torch.no_grad(), self._autocast():
                cached.append(self._views(batch, part, wanted)[0])
        for name, buffer in self.tower.named_buffers():
            if name in statistics:
                buffer.copy_(statistics[name])
        leaves = {name: torch.cat([views[name] for views in cached]).requires_grad_() for name in cached[0]}
        losses: dict[str, Tensor] = contrast(leaves)
        if losses:
            torch.stack([*losses.values()]).sum().backward()
        for part, state in zip(parts, states, strict=True):
            _replay(state, self.tower.device)
            with self._autocast():
                views, out = self._views(batch, part, wanted)
            surrogate = [
                (views[name] * leaf.grad[part]).sum() for name, leaf in leaves.items() if leaf.grad is not None
            ]
            share = len(batch.rows[part]) / len(batch)
            own = {name: share * loss for name, loss in self._objective(_part(batch, part), out).items()}
            for name, loss in own.items():
                losses[name] = losses.get(name, torch.zeros((), device=loss.device)) + loss.detach()
            terms = [*surrogate, *own.values()]
            if terms:
                torch.stack(terms).sum().backward()
        return losses

    def _views(
        self, batch: TrainingBatch, part: slice, wanted: set[str]
    ) -> tuple[dict[str, Tensor], Mapping[str, Tensor]]:
        """The wanted views of a part of the batch, and what the forward pass gave besides."""
        inputs = batch.inputs[part]
        out: Mapping[str, Tensor] = {}
        views: dict[str, Tensor] = {}
        if self.has_objective or "fused" in wanted:
            out = self.tower(inputs)
            views = {name: out[name] for name in READ_OUTS if name in wanted}
        else:
            if "text" in wanted:
                views["text"] = self.tower.read_text(inputs.tokens) * inputs.has_text[:, None]
            if "image" in wanted:
                views["image"] = self.tower.read_image(inputs.images) * inputs.has_image[:, None]
        if CAPTION in wanted:
            captions, there = batch.captions[part], batch.has_caption[part]
            read = self.tower.read_text(captions[there])
            views[CAPTION] = read.new_zeros(len(captions), read.shape[1]).index_put((there.nonzero()[:, 0],), read)
        return views, out

    def _objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self._autocast():
            return self.tower.objective(batch, out) if self.has_objective else {}

    def _update(self, batch: TrainingBatch, losses: dict[str, float]) -> dict[str, float]:
        workers.average_gradients(self.tower.parameters())
        rate = scheduled(batch.step, batch.steps, self.rates)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * base
        norm = nn.utils.clip_grad_norm_(self.tower.parameters(), self.rates.largest_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.tower.after_step()
            if self.ema is not None:
                self.ema.update()
        else:
            self.skipped += 1
        averaged = {name: workers.mean(loss) for name, loss in losses.items()}
        return {"loss": sum(averaged.values()), **averaged}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.tower.device.type, self.precision, enabled=self.precision != torch.float32)


def _chance(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where the global random streams stand."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _replay(chance: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(chance[0])
    if chance[1] is not None:
        torch.cuda.set_rng_state(chance[1], device)


def _part(batch: TrainingBatch, part: slice) -> TrainingBatch:
    return TrainingBatch(
        step=batch.step,
        steps=batch.steps,
        rows=batch.rows[part],
        inputs=batch.inputs[part],
        captions=batch.captions[part],
        has_caption=batch.has_caption[part],
        same=batch.same[part, part],
        notes=batch.notes[part],
        random=batch.random,
    )
