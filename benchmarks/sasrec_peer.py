"""SASRec of RecTools (1808.09781), asked by bench_user_tower.py in an interpreter that has ``rectools[torch]``.

In: a ``.npz`` with ``users`` and ``items`` (rows of what may be learned from, each user's oldest first), ``held_out``
(users whose last item is for early stopping), ``asked`` (users) and ``depth``. Out: a ``.npz`` with the best ``rows``
of each asked user and the ``epochs``, the ``seconds`` of CPU and the ``hits`` on held-out users after each epoch.

    python benchmarks/sasrec_peer.py IN.npz OUT.npz --factors 128 --length 100
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

HITS_AT = 10
NOWHERE = -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--factors", type=int, default=128)
    parser.add_argument("--length", type=int, default=100, help="of the sessions")
    parser.add_argument("--negatives", type=int, help="sampled for each position; default: the whole catalogue")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=100, help="at most")
    parser.add_argument("--patience", type=int, default=5, help="epochs without more hits before stopping")
    arguments = parser.parse_args()
    seed_everything(0)
    given = np.load(arguments.source)
    events = pd.DataFrame(
        {
            Columns.User: given["users"],
            Columns.Item: given["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(given["users"])), unit="s"),
        }
    )
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=arguments.factors,
        session_max_len=arguments.length,
        loss="softmax" if arguments.negatives is None else "sampled_softmax",
        n_negatives=arguments.negatives or 1,
        lr=arguments.rate,
        get_val_mask_func=last_of,
        get_val_mask_func_kwargs={"users": given["held_out"].tolist()},
        get_trainer_func=trainer,
        get_trainer_func_kwargs={"epochs": arguments.epochs, "patience": arguments.patience},
    )
    started = time.process_time()
    dataset = Dataset.construct(events)
    model.fit(dataset)
    stop = next(each for each in model.fit_trainer.callbacks if isinstance(each, KeepBest))
    model.lightning_model.torch_model.load_state_dict(stop.weights)
    found = model.recommend(given["asked"], dataset, k=int(given["depth"]), filter_viewed=True)
    rows = np.full((len(given["asked"]), int(given["depth"])), NOWHERE, np.int32)
    place = pd.Series(np.arange(len(given["asked"])), index=given["asked"])
    rows[place[found[Columns.User]].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    np.savez(arguments.out, rows=rows, epochs=stop.best_epoch, seconds=time.process_time() - started, hits=stop.hits)


def last_of(interactions: pd.DataFrame, users: list[int]) -> Any:
    """Which interactions are the last of these users."""
    last = ~interactions.duplicated(Columns.User, keep="last")
    return (last & interactions[Columns.User].isin(users)).to_numpy()


def trainer(epochs: int, patience: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[KeepBest(patience)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        num_sanity_val_steps=0,
    )


class KeepBest(Callback):
    """Counts hits on held-out users after each epoch, keeps the weights of the best, and stops when none comes."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.hits: list[float] = []
        self.best_epoch = 0
        self.weights: dict[str, torch.Tensor] = {}
        self._found: list[torch.Tensor] = []

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: dict[str, torch.Tensor], *_: Any
    ) -> None:
        states = module.torch_model.encode_sessions(batch, module.item_embs)[:, -1]
        scores = (states @ module.item_embs.T).scatter(1, batch["x"], -torch.inf)  # padding is an item of its own
        self._found.append((scores.topk(HITS_AT).indices == batch["y"]).any(dim=1))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.hits.append(torch.cat(self._found).float().mean().item())
        self._found.clear()
        print(f"epoch {len(self.hits)}: hits {self.hits[-1]:.4f}, {time.process_time():.0f} s of CPU", flush=True)
        if self.hits[-1] >= max(self.hits):
            self.best_epoch = len(self.hits)
            self.weights = {name: tensor.clone() for name, tensor in module.torch_model.state_dict().items()}
        trainer.should_stop = len(self.hits) - self.best_epoch >= self.patience


if __name__ == "__main__":
    main()
