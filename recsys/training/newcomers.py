"""Newcomers: what items without interactions are given in place of a popularity that they cannot have shown yet."""

from __future__ import annotations

import numpy as np
import torch

from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, nearest
from recsys.types import Histories

USERS = 1000  # whose first places are counted
PLACES = 50
PRETENDERS = 0.1  # of the trained items, looked at as if they were new
LARGEST_PULL, HALVINGS = 2.0, 20  # against the length of the vectors that are pulled


@torch.no_grad()
def welcome_newcomers(tower: UserTower, content: EmbeddingTable, histories: Histories, share: float, seed: int) -> None:
    """Set the residual of strangers so that new items get their share of the first places.

    How popular an item is, its residual learns as a direction that most users agree with. A new item lacks it and
    stands behind all that have it. So the residual that new items have in common is pulled towards the mean user, as
    far as some trained items, looked at without theirs, need to be among the first ``PLACES`` as often as others.
    They count for users who engaged with them too, since a new item has been met by nobody.

    Args:
        tower: a trained one; changed in place, unless its items have no residual.
        content: the catalogue.
        histories: of users over it.
        share: of the first places, against that of as many trained items: 1 for as many, 2 for twice as many.
        seed: of what is drawn.
    """
    slots = tower.slots(content.ids)
    stranger = len(tower.trained)
    trained = np.flatnonzero((slots.numpy() != stranger) & content.vectors.any(axis=1))
    heard = np.flatnonzero(histories.lengths)
    if tower.residual is None or len(trained) < 2 or not len(heard):
        return
    random = np.random.default_rng([seed, 4])
    pretenders = np.sort(random.choice(trained, max(1, int(PRETENDERS * len(trained))), replace=False))
    asked = histories.take(np.sort(random.choice(heard, min(USERS, len(heard)), replace=False)))
    items = EmbeddingTable(content.ids, tower.item_vectors(content), "")
    users = torch.from_numpy(tower.user_vectors(asked, items.vectors))
    others = items.vectors.copy()
    others[pretenders] = 0
    places = max(1, min(PLACES, len(trained) // 10))
    index = ExactIndex(EmbeddingTable(content.ids, others, ""))
    last = torch.from_numpy(UserTowerSource(tower, items, index).retrieve(asked, places).scores[:, -1:])
    described = torch.from_numpy(np.array(content.vectors[pretenders]))
    plain = tower.residual.weight[-1].clone()
    mean = torch.nn.functional.normalize(users.mean(dim=(0, 1)), dim=0)
    step = mean * (tower.project(described) + plain).norm(dim=1).mean()
    wanted = share * places * len(users) * len(pretenders) / len(trained)
    low, high = -LARGEST_PULL, LARGEST_PULL
    for _ in range(HALVINGS):
        pull = (low + high) / 2
        tower.residual.weight[-1] = plain + pull * step
        vectors = tower.items(described, torch.full((len(pretenders),), stranger))
        found = int((nearest(users, vectors) > last).sum())
        low, high = (pull, high) if found < wanted else (low, pull)
