"""CLIP item tower: ViT + BERT, contrastively trained, fused into one item vector (2103.00020, 2405.16789).

The text and the image read-out are CLIP's two projections. The fused read-out mixes the same two projections by a gate,
so an item that lacks one of them falls back on the other, and texts, pictures and items all live in one space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.artifacts import sha256_of
from recsys.config import BaseConfig
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.encoders.text import TextConfig, TextEncoder
from recsys.encoders.tokenizer import TOKENIZER_FILE
from recsys.exceptions import ArtifactError
from recsys.towers.base import READ_OUTS, ItemBatch
from recsys.towers.logit_scale import new_logit_scale
from recsys.types import FloatArray, Image

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
QUERIES_PER_BATCH = 256


class ClipConfig(BaseConfig):
    """Both encoders and the width of the common space."""

    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    width: int = 64


class ClipTower(nn.Module):
    """Dual encoder with a gated fusion.

    Args:
        text: encoder of texts.
        image: encoder of pictures.
        width: d of the common space.
    """

    def __init__(self, text: TextEncoder, image: ImageEncoder, width: int) -> None:
        super().__init__()
        self.text = text
        self.image = image
        self.width = width
        self.text_projection = nn.Linear(text.width, width, bias=False)
        self.image_projection = nn.Linear(image.width, width, bias=False)
        self.gate = nn.Linear(text.width + image.width, width)
        self.match_scale = new_logit_scale()  # image <-> text
        self.pair_scale = new_logit_scale()  # item <-> item
        self._fingerprint: str | None = None

    @classmethod
    def create(cls, config: ClipConfig, corpus: Sequence[str]) -> ClipTower:
        """A new tower; its tokenizer is trained on ``corpus`` unless a checkpoint brings one."""
        return cls(TextEncoder.create(config.text, corpus), ImageEncoder.create(config.image), config.width)

    def forward(self, tokens: Tensor, has_text: Tensor, pixels: Tensor, has_image: Tensor) -> dict[str, Tensor]:
        """Read-outs ``fused``, ``text`` and ``image``, each ``[n, width]``: unit rows, zero where nothing is there.

        Args:
            tokens: int ``[n, length]``.
            has_text: bool ``[n]``.
            pixels: uint8 ``[n, 3, size, size]``.
            has_image: bool ``[n]``.
        """
        text_state = self.text(tokens) * has_text[:, None]
        image_state = self.image(pixels) * has_image[:, None]
        text, image = self.text_projection(text_state), self.image_projection(image_state)
        gate = torch.sigmoid(self.gate(torch.cat([text_state, image_state], dim=1)))
        gate = torch.where(has_text[:, None] & has_image[:, None], gate, has_image[:, None].to(gate.dtype))
        fused = gate * image + (1 - gate) * text
        return {"fused": _unit(fused), "text": _unit(text), "image": _unit(image)}

    def read_text(self, tokens: Tensor) -> Tensor:
        """The ``text`` read-out alone, ``[n, width]``."""
        return _unit(self.text_projection(self.text(tokens)))

    def read_image(self, pixels: Tensor) -> Tensor:
        """The ``image`` read-out alone, ``[n, width]``."""
        return _unit(self.image_projection(self.image(pixels)))

    @torch.inference_mode()
    def encode_items(self, batch: ItemBatch) -> Mapping[str, FloatArray]:
        self.eval()
        outputs = self(
            torch.from_numpy(self.text.tokens([text or "" for text in batch.texts])),
            torch.tensor([text is not None for text in batch.texts], dtype=torch.bool),
            torch.from_numpy(self.image.prepare(batch.images)),
            torch.tensor([image is not None for image in batch.images], dtype=torch.bool),
        )
        return {name: outputs[name].float().numpy() for name in READ_OUTS}

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> FloatArray:
        self.eval()
        tokens = torch.from_numpy(self.text.tokens(texts))
        return torch.cat([self.read_text(part) for part in tokens.split(QUERIES_PER_BATCH)]).numpy()

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image]) -> FloatArray:
        self.eval()
        starts = range(0, max(1, len(images)), QUERIES_PER_BATCH)
        parts = (self.image.prepare(images[start : start + QUERIES_PER_BATCH]) for start in starts)
        return torch.cat([self.read_image(torch.from_numpy(part)) for part in parts]).numpy()

    @property
    def fingerprint(self) -> str:
        """Hash of the saved files.

        Raises:
            ArtifactError: the tower was neither saved nor loaded, so its weights may still change.
        """
        if self._fingerprint is None:
            raise ArtifactError("This tower has no fingerprint yet.", "Save it first.")
        return self._fingerprint

    def save(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, path / WEIGHTS_FILE)
        self.text.tokenizer.save(str(path / TOKENIZER_FILE))
        config = {
            "family": "clip",
            "width": self.width,
            "max_tokens": self.text.max_tokens,
            "image_mean": self.image.mean.flatten().tolist(),
            "image_std": self.image.std.flatten().tolist(),
            "text": self.text.bert.config.to_diff_dict(),
            "image": self.image.vit.config.to_diff_dict(),
        }
        (path / CONFIG_FILE).write_text(json.dumps(config, indent=2))
        self._fingerprint = _fingerprint(path)

    @classmethod
    def load(cls, path: Path) -> ClipTower:
        """Read a saved tower.

        Raises:
            ArtifactError: the directory holds no CLIP tower.
        """
        file = path / CONFIG_FILE
        config = json.loads(file.read_text()) if file.exists() else {}
        if config.get("family") != "clip":
            raise ArtifactError(f"{path} holds no CLIP tower.", "Name the directory that `recsys train-tower` wrote.")
        bert = BertModel(BertConfig.from_dict(config["text"]), add_pooling_layer=False)
        vit = ViTModel(ViTConfig.from_dict(config["image"]), add_pooling_layer=False)
        tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
        tower = cls(
            TextEncoder(bert, tokenizer, config["max_tokens"]),
            ImageEncoder(vit, config["image_mean"], config["image_std"]),
            config["width"],
        )
        tower.load_state_dict(load_file(path / WEIGHTS_FILE))
        tower._fingerprint = _fingerprint(path)
        return tower.eval()


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=1)


def _fingerprint(path: Path) -> str:
    files = (WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE)
    return hashlib.sha256("".join(sha256_of(path / file) for file in files).encode()).hexdigest()[:16]
