"""BLIP item tower: one text model in three roles, so that one tower retrieves, judges pairs and writes captions.

Text and image read-outs are BLIP's contrastive projections (2201.12086), and the fused one mixes the same two by a
gate: one index serves texts, pictures and items. Matching and captioning look at the picture's states through
cross-attention, whose keys and values are computed once for all texts that look at a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig
from recsys.encoders.grounded_bert import INITIAL_STD, GroundedBert, Seen
from recsys.encoders.grounded_text import GroundedText, GroundedTextConfig
from recsys.encoders.hub_weights import hub_config, hub_weights
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.exceptions import ConfigError
from recsys.towers.abilities import Captioning, Matching
from recsys.towers.base import Capability, TowerInputs, TrainingBatch
from recsys.towers.distilled_contrast import distilled_contrast
from recsys.towers.fusion import GatedFusion
from recsys.towers.hard_negatives import draw_hard_negatives, matching_loss
from recsys.towers.momentum import NO_ITEM, FeatureQueue, Momentum
from recsys.towers.tower import unit

NORMALISED = ("blip", "blip_vision_model", "siglip_vision_model", "vit")  # encoders whose last states are normalised
TEMPERATURE, TEMPERATURES = 0.07, (0.001, 0.5)
SMOOTHING = 0.1  # of the labels when learning to write


class BlipConfig(BaseConfig):
    """Both encoders, the common space, and what is learned. With ``queue`` and ``alpha`` 0 there are no slow copies.

    The paper, which starts from a trained BERT and ViT, draws hard negatives from the first step (``hardness_ramp`` 0).
    A tower that starts from nothing cannot tell those apart and learns to answer "no" to all: its first negatives
    are random ones.
    """

    family: Literal["blip"] = "blip"
    checkpoint: Path | None = None  # a whole BLIP in the hub's format; brings all sizes but `text.max_tokens`
    text: GroundedTextConfig = GroundedTextConfig()
    image: ImageConfig = ImageConfig()
    width: int = 64  # 256 in the paper
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights
    contrast_weight: float = Field(default=1.0, ge=0)
    matching_weight: float = Field(default=1.0, ge=0)
    caption_weight: float = Field(default=1.0, ge=0)
    queue: int = Field(default=2048, ge=0)  # pairs of earlier steps that contrast sees; 57,600 in the paper
    alpha: float = Field(default=0.4, ge=0, le=1)  # weight of the slow encoders' belief, in the end
    alpha_ramp: float = Field(default=0.2, ge=0, le=1)  # share of the steps over which it grows
    momentum: float = Field(default=0.995, ge=0, lt=1)
    hardness: float = Field(default=1.0, ge=0, le=1)  # in the end: they are drawn by this * cosine / temperature
    hardness_ramp: float = Field(default=0.5, ge=0, le=1)  # share of the steps over which it grows


class BlipTower(Matching, Captioning):
    """Image encoder, grounded text model, two projections, gated fusion and a matching head.

    Its contrast has a temperature of its own, divided by and kept in [0.001, 0.5] as the paper does; the base's
    ``match_scale`` belongs to the trainer's contrast between read-outs.

    Args:
        text: the text model.
        image: encoder of pictures.
        width: d of the common space.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "blip"
    capabilities: frozenset[Capability] = frozenset({"zero_shot", "match", "caption"})
    training_only = ("momentum.", "queue.")
    reads_states = True
    text: GroundedText

    def __init__(self, text: GroundedText, image: ImageEncoder, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__(width, widths)
        self.text = text
        self.image = image
        normalised = image.kind in NORMALISED and image.layer == -1
        self.image_norm = nn.Identity() if normalised else nn.LayerNorm(image.width)
        self.text_projection = nn.Linear(text.width, width)
        self.image_projection = nn.Linear(image.width, width)
        self.matching_head = nn.Linear(text.width, 2)
        nn.init.normal_(self.matching_head.weight, std=INITIAL_STD)
        self.fusion = GatedFusion(text.width, image.width, width)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self.register_buffer("match_weight", torch.ones(()))
        self.training_config = BlipConfig(queue=0, alpha=0.0)
        self.momentum: Momentum | None = None
        self.queue: FeatureQueue | None = None
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []  # of the step under way

    @classmethod
    def create(cls, config: BlipConfig, corpus: Sequence[str]) -> BlipTower:
        if config.checkpoint is not None:
            tower = cls.from_checkpoint(config.checkpoint, config)
        else:
            image = ImageEncoder.create(config.image)
            text = GroundedText.create(config.text, image.width, corpus)
            tower = cls(text, image, config.width, config.widths)
        tower.adopt(config)
        return tower

    @classmethod
    def from_checkpoint(cls, path: Path, config: BlipConfig) -> BlipTower:
        """A BLIP of the hub: for retrieval, for captions, or both; what it lacks starts fresh.

        Args:
            path: the folder.
            config: says what is frozen, which layer is read, where texts are cut, and the width where the checkpoint
                has no projections.

        Raises:
            ConfigError: it is no BLIP.
            ArtifactError: weights or tokenizer are missing.
        """
        if (kind := hub_config(path).get("model_type")) != "blip":
            raise ConfigError(f"{path} holds a {kind!r} model.", "Name a BLIP, or give encoders one by one.")
        weights = hub_weights(path)
        image = ImageEncoder.from_checkpoint(path, config.image.layer, config.image.frozen)
        text = GroundedText.from_blip(path, weights, image.width, config.text.max_tokens)
        projections = {"text_proj": "text_projection", "vision_proj": "image_projection", "itm_head": "matching_head"}
        found = {
            f"{ours}.{kind}": weights[f"{theirs}.{kind}"]
            for theirs, ours in projections.items()
            for kind in ("weight", "bias")
            if f"{theirs}.{kind}" in weights
        }
        width = len(found["text_projection.bias"]) if "text_projection.bias" in found else config.width
        tower = cls(text, image, width, config.widths)
        tower.load_state_dict(found, strict=False)
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> BlipTower:
        image = ImageEncoder.restore(description["image"])
        text = GroundedText.restore(description["text"], tokenizer)
        return cls(text, image, description["width"], description["widths"])

    def describe(self) -> dict[str, Any]:
        return {"text": self.text.describe(), "image": self.image.describe()}

    def adopt(self, config: BlipConfig) -> None:
        """Set loss weights and what is frozen; start slow copies from the weights as they are, and an empty queue."""
        self.training_config = config
        if self.image.reads_pixels:
            self.image.frozen = config.image.frozen
            self.image.backbone.requires_grad_(not config.image.frozen)
        self.momentum, self.queue = None, None
        if config.queue > 0 or config.alpha > 0:
            copies = {
                name: cast(GroundedBert, part).reading_part() if name == "text" else deepcopy(part)
                for name, part in self._followed.items()
            }
            self.momentum = Momentum(copies, config.momentum)
            self.queue = FeatureQueue(config.queue, self.full_width).to(self.device)

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        states = self.image.states(inputs.images)
        text_state, image_state = self.text(inputs.tokens), self._pooled(states, inputs.images)
        text, image = self.text_projection(text_state), self.image_projection(image_state)
        out: dict[str, Tensor] = self.fusion(text_state, image_state, text, image, inputs.has_text, inputs.has_image)
        return out | {"image_states": states}

    def read_text(self, tokens: Tensor) -> Tensor:
        return unit(self.text_projection(self.text(tokens)))

    def read_image(self, images: Tensor) -> Tensor:
        return unit(self.image_projection(self._pooled(self.image.states(images), images)))

    def before_step(self, batch: TrainingBatch) -> None:
        self._pending.clear()
        if self.momentum is not None:
            self.momentum.follow(self._followed)

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        self.temperature.clamp_(*TEMPERATURES)
        if self.queue is not None:
            for text, image, items in self._pending:
                self.queue.push(text, image, items)
        self._pending.clear()

    def objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``itc``, ``itm`` and ``lm`` of the items that have both a text and a picture."""
        config, inputs = self.training_config, batch.inputs
        both = (inputs.has_text & inputs.has_image).nonzero()[:, 0]
        if len(both) == 0:
            if config.contrast_weight > 0:
                self._remember(batch, both, (out["text"][:0], out["image"][:0]))
            return {name: out["fused"].sum() * 0.0 for name in ("itc", "itm", "lm")}
        text, image = out["text"][both].float(), out["image"][both].float()
        same = batch.same.to(both.device)[both][:, both]
        losses = {}
        if config.contrast_weight > 0:
            losses["itc"] = config.contrast_weight * self._contrast(batch, both, text, image, out["image_states"], same)
        if config.matching_weight > 0 or config.caption_weight > 0:
            tokens, pictures = inputs.tokens[both], self._look(out["image_states"][both])
            if config.matching_weight > 0:
                hardness = config.hardness * _grown(batch, config.hardness_ramp)
                similarity = hardness * (text @ image.T / self.temperature).detach()
                losses["itm"] = config.matching_weight * self._matching(
                    tokens, pictures, similarity, same, batch.random
                )
            if config.caption_weight > 0:
                logits, labels, _ = self.text.predict(tokens, pictures)
                written = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING) if len(labels) else logits.sum()
                losses["lm"] = config.caption_weight * written
        return losses

    @property
    def contrast_temperature(self) -> float:
        return self.temperature.item()

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        pictures = self._look(self.image.states(images), self.text.longest(tokens))
        no, yes = self.matching_head(self.text.beside(tokens, pictures)).unbind(dim=1)
        return cast(Tensor, yes - no)

    def caption_nll(self, tokens: Tensor, images: Tensor) -> Tensor:
        logits, labels, rows = self.text.predict(tokens, self._look(self.image.states(images)))
        lost = F.cross_entropy(logits.float(), labels, reduction="none")
        total = lost.new_zeros(len(tokens)).index_add(0, rows, lost)
        return total / torch.bincount(rows, minlength=len(tokens)).clamp(min=1)

    def write_captions(
        self, images: Tensor, max_tokens: int, top_p: float | None = None, random: torch.Generator | None = None
    ) -> list[str]:
        return self.text.write(self._look(self.image.states(images)), max_tokens, top_p, random)

    @property
    def _followed(self) -> dict[str, nn.Module]:
        """What slow copies follow; a frozen image encoder is its own."""
        parts: dict[str, nn.Module] = {
            "text": self.text.bert,
            "text_projection": self.text_projection,
            "image_projection": self.image_projection,
        }
        return parts if self.image.frozen else parts | {"image": self.image}

    def _look(self, states: Tensor, longest: int | None = None) -> list[Seen]:
        """What matching and writing see of pictures, see :meth:`recsys.encoders.grounded_bert.GroundedBert.look`."""
        return self.text.bert.look(self.image_norm(states), longest)

    def _pooled(self, states: Tensor, images: Tensor) -> Tensor:
        """One state a picture; of one whose states were pooled when they were cached, that."""
        return cast(Tensor, self.image(images if images.ndim == 2 else states))

    def _contrast(
        self, batch: TrainingBatch, both: Tensor, text: Tensor, image: Tensor, states: Tensor, same: Tensor
    ) -> Tensor:
        keys, alpha = (text, image), 0.0
        if self.momentum is not None and self.queue is not None:
            items = batch.rows.to(both.device)[both]
            slow = self._slow(batch.inputs, both, states)
            self._remember(batch, both, slow)
            old_text, old_image, old_items = self.queue.filled()
            keys = torch.cat([slow[0], old_text]), torch.cat([slow[1], old_image])
            same = torch.cat([same, items[:, None] == old_items[None, :]], dim=1)
            alpha = self.training_config.alpha * _grown(batch, self.training_config.alpha_ramp)
        with torch.autocast(text.device.type, enabled=False):
            return distilled_contrast(text, image, keys, same, self.temperature, alpha)

    @torch.no_grad()
    def _remember(self, batch: TrainingBatch, both: Tensor, slow: tuple[Tensor, Tensor]) -> None:
        """Keep what the step saw for the queue, a line for each row of the batch, whether it has a pair or not."""
        if self.queue is not None:
            text, image = (rows.new_zeros(len(batch), self.full_width).index_copy(0, both, rows) for rows in slow)
            items = torch.full_like(batch.rows, NO_ITEM, device=both.device)
            self._pending.append((text, image, items.index_copy(0, both, batch.rows.to(both.device)[both])))

    @torch.no_grad()
    def _slow(self, inputs: TowerInputs, both: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Text and picture vectors by the slow copies."""
        assert self.momentum is not None
        text = self.text(inputs.tokens[both], cast(GroundedBert, self.momentum["text"]))
        if "image" in self.momentum:
            image = self.momentum["image"](inputs.images[both])
        else:
            image = self._pooled(states[both], inputs.images[both])
        return unit(self.momentum["text_projection"](text)), unit(self.momentum["image_projection"](image))

    def _matching(
        self, tokens: Tensor, pictures: list[Seen], similarity: Tensor, same: Tensor, random: torch.Generator
    ) -> Tensor:
        """Cross-entropy over the pairs and, for each text and for each picture, one hard negative where one is left."""
        wrong_image = draw_hard_negatives(similarity, same, random)
        wrong_text = draw_hard_negatives(similarity.T, same.T, random)
        own = torch.arange(len(tokens), device=tokens.device)
        texts = torch.cat([own, own[wrong_image >= 0], wrong_text[wrong_text >= 0]])
        images = torch.cat([own, wrong_image[wrong_image >= 0], own[wrong_text >= 0]])
        labels = torch.zeros_like(texts).index_fill(0, own, 1)
        return matching_loss(self.matching_head(self.text.beside(tokens[texts], pictures, images)), labels)


def _grown(batch: TrainingBatch, ramp: float) -> float:
    """From 0 to 1 over a share of the steps."""
    return min(1.0, batch.step / (ramp * batch.steps)) if ramp > 0 else 1.0
