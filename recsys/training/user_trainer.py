"""The training loop of user towers: each engagement is predicted from those before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import DataError
from recsys.index.exact import ExactIndex
from recsys.progress import say_record, track
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.logit_scale import clamp_logit_scale
from recsys.towers.user import UserTower, nearest
from recsys.training.checkpoint import Checkpoint, Progress
from recsys.training.newcomers import welcome_newcomers
from recsys.training.optimizer import OptimizerConfig, scheduled
from recsys.training.sampled_softmax import NegativeSampler, sampled_softmax
from recsys.training.sequences import SequenceBatch, Sequences
from recsys.types import NO_ROW, Histories, RowArray

HITS_AT = 10


class UserTrainerConfig(BaseConfig):
    """How long and how fast to learn, and against what."""

    seed: int = 0
    steps: int = Field(default=3000, ge=1)
    users_per_batch: int = Field(default=64, ge=1)
    negatives: int | None = Field(default=1024, ge=1)  # sampled a step; ``None`` compares with the whole catalogue
    largest_cosine: float = Field(default=0.98, gt=0, le=1)  # a nearer item is no negative (2510.14788)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=6e-3, warmup_steps=100, weight_decay=0.01)
    evaluate_every: int = Field(default=250, ge=1)
    patience: int = Field(default=4, ge=1)  # evaluations without more hits before stopping
    validation_users: int = Field(default=1000, ge=1)  # whose last engagement is never trained on
    newcomer_share: float = Field(default=1.0, gt=0)  # of the first places, see :func:`welcome_newcomers`


def train_user_tower(
    tower: UserTower, content: EmbeddingTable, interactions: Interactions, config: UserTrainerConfig, work: Path
) -> Progress:
    """Train until the last engagements of held-out users are no longer found better; ends with weights as the best.

    Where too few users have three engagements to hold any out, it trains to the end.

    Args:
        tower: trained in place.
        content: content vectors of the catalogue of ``interactions``.
        interactions: what may be learned from.
        config: see there.
        work: directory for checkpoints; an interrupted run goes on from there and ends with the same weights.

    Raises:
        DataError: nobody engaged with two items.
    """
    validation, learned = _hold_out_last(interactions, config)
    sequences = Sequences(learned, tower.config.last, config.seed)
    if not len(sequences):
        raise DataError("No user engaged with two items: there is no next item to learn.", "Log more events first.")
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in tower.parameters() if p.ndim >= 2], "weight_decay": config.optimizer.weight_decay},
            {"params": [p for p in tower.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.optimizer.learning_rate,
        betas=(0.9, 0.98),
    )
    checkpoint = Checkpoint(work)
    progress = checkpoint.resume(tower, optimizer, None)
    sampler = NegativeSampler.of(learned.item_counts())
    learn = _Step(tower, content, tower.slots(content.ids), sequences, sampler, config)
    losses: list[float] = []
    for step in track(range(progress.step, config.steps), "Training the user tower"):
        if len(validation.targets) and step - progress.best_step >= config.patience * config.evaluate_every:
            break
        torch.manual_seed(int(np.random.default_rng([config.seed, step, 1]).integers(2**62)))
        tower.train()
        loss = learn.loss(step)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(tower.parameters(), config.optimizer.largest_norm)
        if norm.isfinite():
            for group in optimizer.param_groups:
                group["lr"] = scheduled(step, config.steps, config.optimizer) * config.optimizer.learning_rate
            optimizer.step()
            clamp_logit_scale(tower.scale)
            losses.append(loss.item())
        else:
            progress.skipped += 1
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            progress.step = step + 1
            recall = validation.hits(tower, content)
            progress.history.append({"step": step + 1.0, "loss": float(np.mean(losses or [np.nan])), "recall": recall})
            losses.clear()
            if progress.judge(recall, len(validation.targets)):
                checkpoint.keep(tower)
            checkpoint.save(tower, optimizer, None, progress)
            say_record(progress.history[-1])
    checkpoint.load_kept(tower)
    tower.eval()
    welcome_newcomers(tower, content, interactions.histories(), config.newcomer_share, config.seed)
    return progress


@dataclass(frozen=True, eq=False)
class _Validation:
    """What held-out users did, and what they engaged with next."""

    histories: Histories
    targets: RowArray

    def hits(self, tower: UserTower, content: EmbeddingTable) -> float:
        """Share of the users whose next item is among the first ten of the whole catalogue, what they know left out."""
        if not len(self.targets):
            return 0.0
        items = EmbeddingTable(content.ids, tower.item_vectors(content), "")
        found = UserTowerSource(tower, items, ExactIndex(items)).retrieve(self.histories, HITS_AT)
        return float((found.rows == self.targets[:, None]).any(axis=1).mean())


def _hold_out_last(interactions: Interactions, config: UserTrainerConfig) -> tuple[_Validation, Interactions]:
    """The last engagement of some users who have three, and all that is left to learn from."""
    histories = interactions.histories()
    able = np.flatnonzero(histories.lengths >= 3)
    random = np.random.default_rng([config.seed, 0, 2])
    users = np.sort(random.choice(able, min(config.validation_users, len(able) // 2), replace=False))
    last = histories.offsets[users + 1] - 1
    kept = np.ones(len(interactions), np.bool_)
    kept[last] = False
    learned = interactions.where(kept)
    return _Validation(learned.histories().take(users), interactions.items[last]), learned


@dataclass(frozen=True, eq=False)
class _Step:
    """The loss of a step by its number."""

    tower: UserTower
    content: EmbeddingTable
    slots: Tensor
    sequences: Sequences
    sampler: NegativeSampler
    config: UserTrainerConfig

    def loss(self, step: int) -> Tensor:
        batch = self.sequences.draw(step, self.config.users_per_batch)
        negatives, log_expected = self._negatives(step)
        real = torch.from_numpy(batch.targets != NO_ROW)
        right = batch.targets[batch.targets != NO_ROW]
        parts = (batch.items.ravel(), negatives, right)
        rows, place = np.unique(np.concatenate(parts), return_inverse=True)
        vectors = self._vectors(np.maximum(rows, 0))
        ends = np.cumsum([len(part) for part in parts])
        heard, others, followed = (vectors[torch.from_numpy(each)] for each in np.split(place, ends[:-1]))
        states = self.tower.states(heard.unflatten(0, batch.items.shape), torch.from_numpy(batch.strengths))
        users = states[real]
        scale = self.tower.scale.exp()
        positive = scale * torch.einsum("mid,md->mi", users, followed).amax(dim=1)
        alike = (followed @ others.T).detach() > self.config.largest_cosine
        excluded = self._known(batch, negatives, real) | alike
        return sampled_softmax(positive, scale * nearest(users, others), log_expected, excluded)

    def _negatives(self, step: int) -> tuple[RowArray, Tensor]:
        if self.config.negatives is None:
            return self.sampler.items, torch.zeros(len(self.sampler.items))
        return self.sampler.draw(self.config.negatives, np.random.default_rng([self.config.seed, step, 3]))

    def _vectors(self, rows: npt.NDArray[np.integer]) -> Tensor:
        """An item of a batch has one vector in it, with its residual or without."""
        content = torch.from_numpy(np.array(self.content.vectors[rows]))
        return self.tower.items(content, self.slots[torch.from_numpy(rows.astype(np.int64))])

    def _known(self, batch: SequenceBatch, negatives: RowArray, real: Tensor) -> Tensor:
        """What the user had engaged with by then, the right item among it; what came later is a negative."""
        places = torch.from_numpy(self.sequences.places(batch.users, negatives))
        return places[real.nonzero(as_tuple=True)[0]] <= torch.from_numpy(batch.places)[real][:, None]
