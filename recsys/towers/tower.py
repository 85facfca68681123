"""Tower: the base of every family. A family adds its forward pass, its own objective and what only it can do."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.artifacts import sha256_of
from recsys.encoders.image import ImageEncoder
from recsys.encoders.tokenizer import TOKENIZER_FILE
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.base import READ_OUTS, Capability, ItemBatch, TowerInputs, TrainingBatch
from recsys.towers.logit_scale import INITIAL, clamp_logit_scale
from recsys.towers.weights import load_weights, unique_weights
from recsys.types import FloatArray, Image

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
ROWS_AT_ONCE = 256


class TextReader(Protocol):
    """What a tower reads texts with."""

    tokenizer: Tokenizer
    max_tokens: int

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids, int32 ``[n, max_tokens]``."""
        ...


class Tower(nn.Module, ABC):
    """An item tower that can be trained, saved and served.

    Subclasses hold ``text``, whatever reads texts, and ``image``, the image encoder, and set ``family``,
    ``capabilities`` and, for weights that serving does not need, ``training_only``.

    Args:
        width: d of the common space.
        widths: smaller widths whose leading dimensions serve as vectors of their own (Matryoshka, 2205.13147).
    """

    family: ClassVar[str]
    capabilities: frozenset[Capability] = frozenset({"zero_shot"})
    training_only: ClassVar[tuple[str, ...]] = ()
    reads_states: ClassVar[bool] = False  # of a picture, all states; else the pooled one, which is less to cache

    text: TextReader
    image: ImageEncoder

    def __init__(self, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__()
        if any(not 0 < narrow < width for narrow in widths):
            raise ConfigError(
                f"Widths {list(widths)} do not fit into {width}.", "Give widths smaller than the tower's."
            )
        self.full_width = width
        self.widths = tuple(widths)
        self.served_width: int | None = None
        self.match_scale = nn.Parameter(torch.tensor(INITIAL))  # image <-> text
        self.match_bias = nn.Parameter(torch.tensor(0.0))  # image <-> text, sigmoid loss only
        self.pair_scale = nn.Parameter(torch.tensor(INITIAL))  # item <-> item
        self._fingerprint: str | None = None

    @classmethod
    @abstractmethod
    def create(cls, config: Any, corpus: Sequence[str]) -> Self:
        """A new tower from its family's config; a tokenizer is trained on ``corpus`` unless a checkpoint brings one."""

    @classmethod
    @abstractmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> Self:
        """A tower with fresh weights from what :meth:`describe` said; :meth:`load` fills them in."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything but weights and tokenizer, as JSON; without paths, so that it also holds where it is copied."""

    @abstractmethod
    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        """Read-outs ``fused``, ``text`` and ``image``, each ``[n, width]``: unit rows, zero where nothing is there.

        A family may put further tensors beside them, for its :meth:`objective` to use again.
        """

    @abstractmethod
    def read_text(self, tokens: Tensor) -> Tensor:
        """The ``text`` read-out alone, ``[n, width]``, of token ids ``[n, length]``."""

    @abstractmethod
    def read_image(self, images: Tensor) -> Tensor:
        """The ``image`` read-out alone, ``[n, width]``, of images as in :class:`TowerInputs`."""

    def objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the family learns besides contrast, as weighted losses by name.

        Args:
            batch: what the step learns from.
            out: what :meth:`forward` returned for ``batch.inputs``.
        """
        return {}

    @property
    def has_objective(self) -> bool:
        """Whether :meth:`objective` may give a loss; then a step of training needs all that :meth:`forward` gives."""
        return type(self).objective is not Tower.objective

    def adopt(self, config: Any) -> None:
        """Take over what a family's config says of training (stage, loss weights), for a tower that comes from disk."""

    def before_step(self, batch: TrainingBatch) -> None:
        """Called once before the forward pass of a step (momentum encoders are updated before use)."""

    @torch.no_grad()
    def after_step(self) -> None:
        """Called after each optimiser step."""
        if not self.match_bias:  # SigLIP's loss, which has a bias, knows no limit
            clamp_logit_scale(self.match_scale)
        clamp_logit_scale(self.pair_scale)

    @property
    def width(self) -> int:
        """Width d of the vectors it serves."""
        return self.served_width or self.full_width

    @property
    def device(self) -> torch.device:
        return self.match_scale.device

    def narrowed(self, width: int | None) -> Self:
        """The same tower, serving its leading ``width`` dimensions; ``None`` for all of them.

        Raises:
            ConfigError: it was not trained for that width.
        """
        if width is not None and width not in (*self.widths, self.full_width):
            trained = ", ".join(map(str, (*self.widths, self.full_width)))
            raise ConfigError(f"This tower was not trained for vectors of width {width}.", f"It has {trained}.")
        self.served_width = None if width == self.full_width else width
        return self

    def inputs(self, batch: ItemBatch) -> TowerInputs:
        """Items as tensors on the tower's device."""
        return TowerInputs(
            torch.from_numpy(self.text.tokens([text or "" for text in batch.texts])),
            torch.tensor([text is not None for text in batch.texts], dtype=torch.bool),
            torch.from_numpy(self.image.prepare(batch.images)),
            torch.tensor([image is not None for image in batch.images], dtype=torch.bool),
        ).to(self.device)

    def encode_items(self, batch: ItemBatch) -> Mapping[str, FloatArray]:
        return self.encode_inputs(self.inputs(batch))

    @torch.inference_mode()
    def encode_inputs(self, inputs: TowerInputs) -> Mapping[str, FloatArray]:
        """Read-outs of items that are tensors already, see :meth:`encode_items`."""
        self.eval()
        out = self(inputs)
        return {name: self._served(out[name]) for name in READ_OUTS}

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> FloatArray:
        self.eval()
        tokens = torch.from_numpy(self.text.tokens(texts))
        return np.concatenate(
            [self._served(self.read_text(part.to(self.device))) for part in tokens.split(ROWS_AT_ONCE)]
        )

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image | FloatArray]) -> FloatArray:
        self.eval()
        starts = range(0, max(1, len(images)), ROWS_AT_ONCE)
        parts = (torch.from_numpy(self.image.prepare(images[start : start + ROWS_AT_ONCE])) for start in starts)
        return np.concatenate([self._served(self.read_image(part.to(self.device))) for part in parts])

    @property
    def fingerprint(self) -> str:
        """Hash of the saved files, and the width where it is not the full one.

        Raises:
            ArtifactError: the tower was neither saved nor loaded, so its weights may still change.
        """
        if self._fingerprint is None:
            raise ArtifactError("This tower has no fingerprint yet.", "Save it first.")
        return self._fingerprint if self.served_width is None else f"{self._fingerprint}@{self.served_width}"

    def save(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in unique_weights(self).items()
            if not name.startswith(self.training_only)
        }
        save_file(weights, path / WEIGHTS_FILE)
        self.text.tokenizer.save(str(path / TOKENIZER_FILE))
        description = {"family": self.family, "width": self.full_width, "widths": list(self.widths), **self.describe()}
        (path / CONFIG_FILE).write_text(json.dumps(description, indent=2))
        self._fingerprint = _fingerprint(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a saved tower of this family; :func:`recsys.towers.families.open_tower` reads one of any family.

        Raises:
            ArtifactError: the directory holds no tower of this family.
        """
        description = read_description(path)
        if description["family"] != cls.family:
            raise ArtifactError(f"{path} holds a {description['family']} tower, not {cls.family}.", "Name another.")
        tower = cls.restore(description, Tokenizer.from_file(str(path / TOKENIZER_FILE)))
        load_weights(tower, load_file(path / WEIGHTS_FILE), optional=cls.training_only)
        tower._fingerprint = _fingerprint(path)
        return tower.eval()

    def _served(self, vectors: Tensor) -> FloatArray:
        if self.served_width is not None:
            vectors = unit(vectors[:, : self.served_width])
        return vectors.float().cpu().numpy()


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1 in float32; a row of zeros stays one."""
    return F.normalize(vectors.float(), dim=-1)


def read_description(path: Path) -> dict[str, Any]:
    """What a saved tower says of itself.

    Raises:
        ArtifactError: the directory holds no tower.
    """
    file = path / CONFIG_FILE
    description = json.loads(file.read_text()) if file.exists() else {}
    if "family" not in description:
        raise ArtifactError(f"{path} holds no tower.", "Name the directory that `recsys train-tower` wrote.")
    return dict(description)


def _fingerprint(path: Path) -> str:
    files = (WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE)
    return hashlib.sha256("".join(sha256_of(path / file) for file in files).encode()).hexdigest()[:16]
