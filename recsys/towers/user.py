"""UserTower: what a user did last, as one or several vectors in the space of item vectors made of content and habit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from recsys import schemas
from recsys.artifacts import sha256_of
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.logit_scale import INITIAL
from recsys.towers.tower import CONFIG_FILE, WEIGHTS_FILE, unit
from recsys.towers.weights import load_weights, unique_weights
from recsys.types import NO_ROW, FloatArray, Histories, IdMap, RowArray

IDS_FILE = "ids.parquet"
USERS_AT_ONCE = 512
ITEMS_AT_ONCE = 65_536
STRENGTHS = tuple(sorted(set(schemas.ACTION_WEIGHTS.values())))


class UserTowerConfig(BaseConfig):
    """What is read of a user, and with how large a model."""

    width: int = Field(default=64, ge=1)  # of the vectors
    last: int = Field(default=50, ge=1)  # newest engagements read
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    interests: int = Field(default=1, ge=1)  # vectors a user; an item is as near as to the nearest of them
    hidden: int = Field(default=256, ge=1)  # of the layer between content and item vectors
    residual: bool = True  # whether an item has a learned vector of its own beside its content
    residual_dropout: float = Field(
        default=0.05, ge=0, lt=1
    )  # how often training takes it away, as a new item has none


class ContentHead(nn.Module):
    """From content to the space of the users: a linear map, and a hidden layer beside it that starts at nothing.

    Args:
        content: width of what comes in.
        hidden: width of the layer.
        width: of what goes out.
    """

    def __init__(self, content: int, hidden: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(content, width, bias=False)
        self.inner = nn.Linear(content, hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, content: Tensor) -> Tensor:
        out: Tensor = self.linear(content) + self.outer(F.gelu(self.inner(content)))
        return out


class UserTower(nn.Module):
    """A causal transformer over the newest engagements (after SASRec, 1808.09781), on vectors of content.

    An item is the unit vector of its projected content plus, where the tower was trained on it, a residual of its own:
    a new item is known by content from its first moment (DropoutNet, 1706.02907, teaches the tower to do without).
    A user of any number of engagements has vectors; without a single one, they are zero.

    Args:
        content: width of the content vectors.
        trained: ids of the items that have a residual.
        config: see :class:`UserTowerConfig`.
        content_fingerprint: of the tower that made the content vectors.
    """

    def __init__(self, content: int, trained: IdMap, config: UserTowerConfig, content_fingerprint: str) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(
                f"A width of {config.width} does not divide among {config.heads} heads.", "Change either."
            )
        self.config = config
        self.trained = trained
        self.content_width = content
        self.content_fingerprint = content_fingerprint
        width = config.width
        self.project = ContentHead(content, config.hidden, width)
        self.residual = nn.Embedding(len(trained) + 1, width) if config.residual else None  # the last is of strangers
        self.strength = nn.Embedding(len(STRENGTHS), width)
        self.place = nn.Embedding(config.last, width)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.dropout = nn.Dropout(config.dropout)
        self.interests = nn.Linear(width, config.interests * width)
        self.scale = nn.Parameter(torch.tensor(INITIAL))
        for embedding in (self.residual, self.strength, self.place):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the saved files.

        Raises:
            ArtifactError: the tower was neither saved nor loaded.
        """
        if self._fingerprint is None:
            raise ArtifactError("This user tower has no fingerprint yet.", "Save it first.")
        return self._fingerprint

    def slots(self, ids: IdMap) -> Tensor:
        """Which residual each item of a catalogue has, int64 ``[n]``; that of strangers where it was not trained on."""
        rows = self.trained.rows(ids.strings)
        return torch.from_numpy(np.where(rows == NO_ROW, len(self.trained), rows).astype(np.int64))

    def items(self, content: Tensor, slots: Tensor) -> Tensor:
        """Unit vectors ``[n, width]`` of items.

        Args:
            content: content vectors ``[n, content]``; zeros where an item has none.
            slots: from :meth:`slots`, ``[n]``.
        """
        vectors: Tensor = self.project(content)
        if self.residual is not None:
            stranger = len(self.trained)
            seen = content.any(dim=1) | (slots != stranger)
            if self.training and self.config.residual_dropout:
                lost = torch.rand(len(slots), device=slots.device) < self.config.residual_dropout
                slots = slots.masked_fill(lost, stranger)
            vectors = (vectors + self.residual(slots)) * seen[:, None]
        return unit(vectors)

    def states(self, vectors: Tensor, strengths: Tensor) -> Tensor:
        """User vectors after each engagement ``[n, t, interests, width]``, unit length.

        Args:
            vectors: of the items engaged with, oldest first, ``[n, t, width]``; padding stands at the end.
            strengths: numbers of :data:`STRENGTHS` ``[n, t]``.
        """
        length = vectors.size(1)
        places = self.place(torch.arange(length, device=vectors.device))
        hidden = self.dropout(vectors * vectors.size(2) ** 0.5 + self.strength(strengths) + places)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=vectors.device)
        out: Tensor = self.interests(self.blocks(hidden, mask=mask, is_causal=True))
        return unit(out.unflatten(-1, (self.config.interests, self.config.width)))

    @torch.inference_mode()
    def item_vectors(self, content: EmbeddingTable) -> FloatArray:
        """Vectors of a whole catalogue ``[n, width]``; zeros where an item has neither content nor residual."""
        self.eval()
        slots = self.slots(content.ids)
        parts = [
            self.items(torch.from_numpy(np.array(content.vectors[start : start + ITEMS_AT_ONCE])), part)
            for start, part in zip(range(0, len(slots), ITEMS_AT_ONCE), slots.split(ITEMS_AT_ONCE), strict=True)
        ]
        return torch.cat(parts).numpy()

    def item_table(self, content: EmbeddingTable) -> EmbeddingTable:
        """Vectors of a whole catalogue, to be indexed.

        Raises:
            ArtifactError: the content was made by another tower than the one it was trained on.
        """
        if content.fingerprint != self.content_fingerprint:
            raise ArtifactError(
                "These content vectors were made by another tower than those the user tower was trained on.",
                "Train the user tower again: `recsys train-user-tower`.",
            )
        return EmbeddingTable(content.ids, self.item_vectors(content), self.fingerprint)

    @torch.inference_mode()
    def user_vectors(self, histories: Histories, items: FloatArray) -> FloatArray:
        """Vectors of users, float32 ``[n, interests, width]``; zeros for one without an engagement.

        Args:
            histories: over the catalogue of ``items``.
            items: from :meth:`item_table`; may be memory-mapped.
        """
        self.eval()
        out = np.zeros((len(histories), self.config.interests, self.config.width), np.float32)
        for start in range(0, len(histories), USERS_AT_ONCE):
            users = histories.slice(start, start + USERS_AT_ONCE)
            rows, strengths, counts = newest(users, self.config.last)
            some = np.flatnonzero(counts)
            if len(some):
                vectors = torch.from_numpy(np.array(items[np.maximum(rows[some], 0)]))
                states = self.states(vectors, torch.from_numpy(strengths[some]))
                out[start + some] = states[torch.arange(len(some)), torch.from_numpy(counts[some] - 1)].numpy()
        return out

    def save(self, path: Path) -> None:
        """Write weights, config and the ids of trained items into a directory."""
        path.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.cpu().contiguous() for name, tensor in unique_weights(self).items()}
        save_file(weights, path / WEIGHTS_FILE)
        pq.write_table(pa.table({schemas.ITEM_ID: self.trained.strings}), path / IDS_FILE)
        description = {
            "config": self.config.model_dump(mode="json"),
            "content": self.content_width,
            "content_fingerprint": self.content_fingerprint,
        }
        (path / CONFIG_FILE).write_text(json.dumps(description, indent=2))
        self._fingerprint = _hash_of(path)

    @classmethod
    def load(cls, path: Path) -> UserTower:
        """Open what :meth:`save` wrote.

        Raises:
            ArtifactError: it is not there, or its weights do not fit.
        """
        if not (path / CONFIG_FILE).exists():
            raise ArtifactError(f"There is no user tower in {path}.", "Run `recsys train-user-tower` first.")
        description = json.loads((path / CONFIG_FILE).read_text())
        trained = IdMap.of(pq.read_table(path / IDS_FILE).column(0).to_pylist())
        config = UserTowerConfig.model_validate(description["config"])
        tower = cls(description["content"], trained, config, description["content_fingerprint"])
        load_weights(tower, load_file(path / WEIGHTS_FILE))
        tower._fingerprint = _hash_of(path)
        return tower.eval()


def newest(histories: Histories, last: int) -> tuple[RowArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The newest engagements, oldest first and padded at the end.

    Returns:
        Item rows ``[n, t]`` (``NO_ROW`` where padded), numbers of :data:`STRENGTHS` ``[n, t]``, and how many ``[n]``.
    """
    rows, weights = histories.recent(last)
    counts = np.minimum(histories.lengths, last)
    place = np.maximum(counts[:, None] - 1 - np.arange(last)[None, :], 0)  # newest first -> oldest first
    real = np.arange(last)[None, :] < counts[:, None]
    rows = np.where(real, np.take_along_axis(rows, place, axis=1), NO_ROW).astype(np.int32)
    weights = np.where(real, np.take_along_axis(weights, place, axis=1), STRENGTHS[0])
    return rows, strength_numbers(weights), counts


def strength_numbers(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The number of the strongest of :data:`STRENGTHS` that does not exceed each weight."""
    return np.maximum(np.searchsorted(STRENGTHS, weights, side="right") - 1, 0).astype(np.int64)


def nearest(users: Tensor, items: Tensor) -> Tensor:
    """Cosine of each user with each item, that of the nearest interest.

    Args:
        users: ``[..., interests, width]``.
        items: ``[m, width]``.

    Returns:
        ``[..., m]``.
    """
    cosines = users @ items.T
    return cosines.squeeze(-2) if cosines.size(-2) == 1 else cosines.amax(dim=-2)


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG_FILE, IDS_FILE):
        digest.update(sha256_of(path / name).encode())
    return digest.hexdigest()[:16]
