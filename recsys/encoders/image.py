"""Image encoder: a backbone with its preprocessing, new or from a checkpoint; or vectors that items bring along."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig
from recsys.data.media import decode
from recsys.encoders.checkpoints import model_type, read_json
from recsys.encoders.dual_encoders import DUAL_ENCODERS
from recsys.encoders.image_backbones import BACKBONES
from recsys.encoders.quick_gelu import use_quick_gelu
from recsys.exceptions import ConfigError
from recsys.types import FloatArray, Image

PREPROCESSOR_FILE = "preprocessor_config.json"
FEATURES = "features"
RESNET_STAGES = 4
SQUEEZED_FROM = 384  # ConvNeXt's preprocessor crops smaller pictures only
PIXELS = 224  # where a checkpoint does not say
LONGEST = 8  # times the shorter side is how much of a long picture is scaled before its centre is cut out


class ImageConfig(BaseConfig):
    """An image encoder trained from scratch; a checkpoint brings its own kind and sizes."""

    kind: Literal["vit", "resnet", "features"] = "vit"
    checkpoint: Path | None = None
    frozen: bool = False  # never trained; its outputs are computed once and cached
    layer: int = -1  # whose states are read; -1 is the last
    pixels: int = Field(default=64, ge=8)  # the picture is scaled to pixels x pixels
    patch: int = Field(default=8, ge=1)  # ViT
    width: int = 128  # of the states; of the vectors that items bring along (features)
    layers: int = 3  # ViT; of each of ResNet's four stages
    heads: int = 4  # ViT
    hidden: int = Field(default=0, ge=0)  # features: width of a learned layer beside the vectors
    dropout: float = Field(default=0.2, ge=0, lt=1)  # features


class ImageEncoder(nn.Module):
    """States of a picture's parts, and one pooled state.

    Normalisation happens inside, so pictures travel and are cached as uint8.

    Args:
        kind: one of :data:`recsys.encoders.image_backbones.BACKBONES`.
        backbone: of that kind.
        pixels: side of the square picture it sees.
        mean: of the three colours, in 0..1.
        std: likewise.
        layer: whose states are read.
        frozen: see :class:`ImageConfig`.
        crop: the share of the shorter side that a centred square keeps; ``None`` squeezes the whole picture instead.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: str,
        backbone: nn.Module,
        pixels: int,
        mean: Sequence[float],
        std: Sequence[float],
        layer: int = -1,
        frozen: bool = False,
        crop: float | None = None,
    ) -> None:
        super().__init__()
        use_quick_gelu(backbone)
        self.kind = kind
        self.backbone = backbone
        self.pixels = pixels
        self.layer = layer
        self.frozen = frozen
        self.crop = crop
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)
        if frozen:
            backbone.requires_grad_(False)

    @classmethod
    def create(cls, config: ImageConfig) -> ImageEncoder:
        """From the checkpoint with the colour statistics of its preprocessor, or fresh weights."""
        if config.kind == FEATURES:
            return FeatureEncoder(config.width, config.hidden, config.dropout)
        if config.checkpoint is not None:
            return cls.from_checkpoint(config.checkpoint, config.layer, config.frozen)
        if config.kind == "resnet":
            sizes = {
                "embedding_size": config.width // 8,
                "hidden_sizes": [config.width >> (RESNET_STAGES - 1 - stage) for stage in range(RESNET_STAGES)],
                "depths": [config.layers] * RESNET_STAGES,
                "layer_type": "basic",
            }
        else:
            sizes = {
                "image_size": config.pixels,
                "patch_size": config.patch,
                "hidden_size": config.width,
                "num_hidden_layers": config.layers,
                "num_attention_heads": config.heads,
                "intermediate_size": 4 * config.width,
            }
        backbone = BACKBONES[config.kind]
        model = backbone.make(backbone.config(**sizes))
        return cls(config.kind, model, config.pixels, [0.5] * 3, [0.5] * 3, config.layer, config.frozen)

    @classmethod
    def from_checkpoint(
        cls, path: Path, layer: int = -1, frozen: bool = False, model: nn.Module | None = None
    ) -> ImageEncoder:
        """An image model in the hub's format, alone or as the image side of a dual encoder, with its preprocessing.

        Args:
            path: the folder.
            layer: see :class:`ImageConfig`.
            frozen: likewise.
            model: the image model of that folder, for a caller who has loaded it already.

        Raises:
            ConfigError: it is of a kind we do not know.
            ArtifactError: weights are missing.
        """
        kind = model_type(path) if model is None else str(cast(Any, model).config.model_type)
        whole = DUAL_ENCODERS.get(kind)
        if whole is None and kind not in BACKBONES:
            known = ", ".join((*BACKBONES, *DUAL_ENCODERS))
            raise ConfigError(f"{path} holds a {kind!r} model.", f"Image encoders can be {known}.")
        if model is None:
            model = BACKBONES[kind].load(path) if whole is None else whole.load(path).vision_model
        kind = kind if whole is None else whole.image
        preprocessor = read_json(path / PREPROCESSOR_FILE)
        side, crop = _square(preprocessor)
        pixels = int(getattr(cast(Any, model).config, "image_size", None) or side)
        mean, std = (preprocessor.get(name, [0.5] * 3) for name in ("image_mean", "image_std"))
        return cls(kind, model, pixels, mean, std, layer, frozen, crop)

    def describe(self) -> dict[str, Any]:
        """Everything but the weights, as JSON."""
        return {
            "kind": self.kind,
            "backbone": cast(Any, self.backbone).config.to_diff_dict(),
            "pixels": self.pixels,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "layer": self.layer,
            "frozen": self.frozen,
            "crop": self.crop,
        }

    @classmethod
    def restore(cls, description: Mapping[str, Any]) -> ImageEncoder:
        """Fresh weights in the shape that :meth:`describe` told."""
        if description["kind"] == FEATURES:
            return FeatureEncoder(description["vectors"], description["hidden"], description["dropout"])
        backbone = BACKBONES[description["kind"]]
        model = backbone.make(backbone.config.from_dict(description["backbone"]))  # type: ignore[attr-defined]
        names = ("pixels", "mean", "std", "layer", "frozen", "crop")
        return cls(description["kind"], model, **{name: description[name] for name in names})

    def preprocessor(self) -> dict[str, Any]:
        """The preprocessing as the hub writes it."""
        square = {"height": self.pixels, "width": self.pixels}
        return {
            "image_processor_type": "CLIPImageProcessor",
            "size": square if self.crop is None else {"shortest_edge": round(self.pixels / self.crop)},
            "crop_size": square,
            "do_center_crop": self.crop is not None,
            "image_mean": self.mean.flatten().tolist(),
            "image_std": self.std.flatten().tolist(),
        }

    @property
    def width(self) -> int:
        """Of the states and of the pooled state."""
        return BACKBONES[self.kind].width(cast(Any, self.backbone).config)

    @property
    def reads_pixels(self) -> bool:
        """Whether it reads pictures, rather than vectors that items bring along."""
        return True

    @property
    def first_patch(self) -> int:
        """How many leading states are no patches."""
        return BACKBONES[self.kind].first_patch

    def train(self, mode: bool = True) -> Self:
        """A frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def prepare(self, images: Sequence[Image | FloatArray | None]) -> npt.NDArray[Any]:
        """Decode and scale pictures to uint8 ``[n, 3, pixels, pixels]``; zeros where there is none."""
        out = np.zeros((len(images), 3, self.pixels, self.pixels), np.uint8)
        for row, image in enumerate(images):
            if isinstance(image, bytes):
                out[row] = _fitted(decode(image, 2 * self.pixels), self.pixels, self.crop)
        return out

    def states(self, images: Tensor) -> Tensor:
        """States of the parts, ``[n, t, width]``: of uint8 pixels, or as they were computed before (float)."""
        if images.is_floating_point():
            return images if images.ndim == 3 else images[:, None]
        if len(images) == 0:
            return torch.zeros(0, 1, self.width, device=images.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return BACKBONES[self.kind].states(self.backbone, self._scaled(images), self.layer)

    def pool(self, states: Tensor) -> Tensor:
        """One state a picture, ``[n, width]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return BACKBONES[self.kind].pool(self.backbone, states) if len(states) else states.new_zeros(0, self.width)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled states ``[n, width]`` of pixels, of states or, as they are, of pooled states."""
        if images.is_floating_point() and images.ndim == 2:
            return images
        pooled = BACKBONES[self.kind].pooled if self.layer == -1 and self.reads_pixels else None
        if pooled is None or images.is_floating_point() or len(images) == 0:
            return self.pool(self.states(images))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return pooled(self.backbone, self._scaled(images))

    def _scaled(self, images: Tensor) -> Tensor:
        """Pixels as the backbone wants them, float ``[n, 3, pixels, pixels]``."""
        return images.float().sub_(255 * self.mean).div_(255 * self.std)  # in place: no tensor is larger


def _square(preprocessor: Mapping[str, Any]) -> tuple[int, float | None]:
    """Side and crop that a checkpoint's preprocessor cuts pictures to: the centre, or the whole picture squeezed."""
    size, cut = (_side(preprocessor.get(name)) for name in ("size", "crop_size"))
    if preprocessor.get("do_center_crop") and size and cut:
        return cut, min(1.0, cut / size)
    if share := preprocessor.get("crop_pct"):  # ConvNeXt's preprocessor, which ResNets use
        return size or PIXELS, share if (size or PIXELS) < SQUEEZED_FROM else None
    return size or PIXELS, None


def _side(size: int | Mapping[str, int] | None) -> int | None:
    return size.get("height") or size.get("shortest_edge") if isinstance(size, Mapping) else size


def _fitted(picture: PillowImage.Image, pixels: int, crop: float | None) -> npt.NDArray[np.uint8]:
    """The picture scaled, and cut to its centre unless it is squeezed, ``[3, pixels, pixels]``.

    PyTorch's bicubic kernel for bytes gives Pillow's numbers, but for a step of rounding, in a third of the time.
    """
    if crop is None:
        return _scaled_to(picture, pixels, pixels)
    picture = _without_far_ends(picture)
    shorter = round(pixels / crop)
    width, height = (shorter * side // min(picture.size) for side in picture.size)
    left, top = (width - pixels) // 2, (height - pixels) // 2
    return _scaled_to(picture, width, height)[:, top : top + pixels, left : left + pixels]


def _scaled_to(picture: PillowImage.Image, width: int, height: int) -> npt.NDArray[np.uint8]:
    channels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    scaled: npt.NDArray[np.uint8] = F.interpolate(channels, (height, width), mode="bicubic", antialias=True)[0].numpy()
    return scaled


def _without_far_ends(picture: PillowImage.Image) -> PillowImage.Image:
    """The middle of a very long picture, none of whose ends is in the square: scaled whole, it might fill memory."""
    longest = LONGEST * min(picture.size)
    spare = [max(0, side - longest) // 2 for side in picture.size]
    return picture.crop((spare[0], spare[1], picture.width - spare[0], picture.height - spare[1]))


class FeatureEncoder(ImageEncoder):
    """Vectors that items bring along, from a model outside: one state a picture.

    The vectors are brought to one length, whatever the model that made them, and are thinned out in training. A hidden
    layer stands beside them, so that whatever reads the states has both the vectors and what was learned from them.
    ``frozen`` is true of the vectors; the hidden layer learns.

    Args:
        vectors: their width.
        hidden: width of the hidden layer; 0 for none.
        dropout: share of the numbers that training leaves out.
    """

    def __init__(self, vectors: int, hidden: int = 0, dropout: float = 0.2) -> None:
        super().__init__(FEATURES, nn.Identity(), 0, [0.5] * 3, [0.5] * 3, frozen=True)
        self.vectors = vectors
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(vectors, hidden) if hidden else None

    @property
    def width(self) -> int:
        return self.vectors + (self.hidden.out_features if self.hidden is not None else 0)

    @property
    def reads_pixels(self) -> bool:
        return False

    @property
    def first_patch(self) -> int:
        return 0

    def describe(self) -> dict[str, Any]:
        return {
            "kind": FEATURES,
            "vectors": self.vectors,
            "hidden": self.width - self.vectors,
            "dropout": self.dropout.p,
        }

    def prepare(self, images: Sequence[Image | FloatArray | None]) -> npt.NDArray[Any]:
        """Stack the vectors, float32 ``[n, vectors]``; zeros where there is none.

        Raises:
            ConfigError: pictures were given, or vectors of another width.
        """
        out = np.zeros((len(images), self.vectors), np.float32)
        for row, image in enumerate(images):
            if isinstance(image, bytes):
                raise ConfigError("This tower reads pre-extracted vectors, not pictures.", "Search by text or by item.")
            if image is not None:
                if len(image) != self.vectors:
                    raise ConfigError(
                        f"A vector of {len(image)} numbers was given.", f"The tower reads {self.vectors}."
                    )
                out[row] = image
        return out

    def states(self, images: Tensor) -> Tensor:
        """One state a picture, ``[n, 1, width]``, of vectors ``[n, vectors]``."""
        vectors = F.normalize(images.float(), dim=-1) * math.sqrt(self.vectors)
        thinned: Tensor = self.dropout(vectors)
        if self.hidden is not None:
            thinned = torch.cat([thinned, self.dropout(F.gelu(self.hidden(thinned)))], dim=-1)
        return thinned[:, None]

    def pool(self, states: Tensor) -> Tensor:
        return states[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """States ``[n, width]`` of vectors ``[n, vectors]``."""
        return self.pool(self.states(images))
