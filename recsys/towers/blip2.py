"""BLIP-2 item tower: learned queries read the picture, and one index serves texts, pictures and items (2301.12597).

Stage 1 teaches the Q-Former to see: contrast, matching and captioning, which differ in who sees whom. Stage 2 teaches a
frozen language model to read what the queries saw; a multi-layer perceptron on the picture's states can stand in their
place. The image read-out is the mean query, so retrieval needs one vector an item; the contrast of stage 1 is the
paper's, which takes the best of the queries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.config import BaseConfig
from recsys.encoders.blip2_checkpoint import load_blip2
from recsys.encoders.causal_lm import ARCHITECTURES, IGNORED, LanguageModel, LanguageModelConfig
from recsys.encoders.image import FEATURES, ImageConfig, ImageEncoder
from recsys.encoders.next_token import next_token
from recsys.encoders.projector import ProjectorConfig, make_projector
from recsys.encoders.qformer import QFormer, QFormerConfig
from recsys.encoders.qformer_weights import create_qformer, fill_qformer, qformer_of
from recsys.encoders.tokenizer import load_tokenizer, train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.abilities import Captioning, Matching
from recsys.towers.base import Capability, TowerInputs, TrainingBatch
from recsys.towers.fusion import GatedFusion
from recsys.towers.hard_negatives import draw_hard_negatives, matching_loss
from recsys.towers.logit_scale import INITIAL, clamp_logit_scale
from recsys.towers.tower import unit

Connector = Literal["qformer", "mlp"]

SMOOTHING = 0.1  # of the labels when stage 1 learns to write
LENGTH_GROUPS = 3  # of the pairs that a step judges
NORMALISED = ("blip-2", "blip_2_vision_model")  # image encoders whose last layer is the paper's norm


class Blip2Config(BaseConfig):
    """The parts and the stage. Image encoders from a checkpoint stay frozen unless ``image.frozen`` says otherwise."""

    family: Literal["blip2"] = "blip2"
    checkpoint: Path | None = None  # a whole BLIP-2 in the hub's format; brings all sizes but `qformer.max_tokens`
    stage: Literal[1, 2] = 1
    connector: Connector = "qformer"  # what the language model reads in stage 2
    prompt: str = ""  # what stands between picture and caption in stage 2
    image: ImageConfig = ImageConfig()
    qformer: QFormerConfig = QFormerConfig()
    language: LanguageModelConfig = LanguageModelConfig()  # stage 2; always frozen
    width: int = 64
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights
    hardness: float = Field(default=1.0, ge=0, le=1)  # of wrong pairs in the end, see the config of BLIP


class Blip2Tower(Matching, Captioning):
    """Frozen image encoder, Q-Former, and in stage 2 a frozen language model.

    Args:
        qformer: reads texts, and through its queries pictures.
        image: encoder of pictures.
        width: d of the common space.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "blip2"
    reads_states = True
    text: QFormer
    language: LanguageModel | None
    connector: nn.Module | None

    def __init__(self, qformer: QFormer, image: ImageEncoder, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__(width, widths)
        self.text = qformer
        self.image = image
        self.image_norm = nn.Identity() if image.kind in NORMALISED else nn.LayerNorm(image.width)
        self.text_projection = nn.Linear(qformer.width, width)
        self.image_projection = nn.Linear(qformer.width, width)
        self.match_head = nn.Linear(qformer.width, 2)
        self.fusion = GatedFusion(qformer.width, qformer.width, width)
        self.register_buffer("match_weight", torch.ones(()))
        self.contrast_scale = nn.Parameter(torch.tensor(INITIAL))  # of the best query; match_scale is the mean's
        self.language = None
        self.connector = None
        self.connector_kind: Connector = "qformer"
        self.prompt = ""
        self._enter(1)

    @classmethod
    def create(cls, config: Blip2Config, corpus: Sequence[str]) -> Blip2Tower:
        """A new tower; from a checkpoint that writes, the text side is fresh and learns in stage 1.

        Raises:
            ConfigError: the checkpoint is none of BLIP-2's, or stage 2 has no language model.
        """
        if config.checkpoint is not None:
            tower = cls._from_checkpoint(config, config.checkpoint, corpus)
        else:
            frozen = config.image.frozen or (
                config.image.checkpoint is not None and "frozen" not in config.image.model_fields_set
            )
            image = ImageEncoder.create(config.image.model_copy(update={"frozen": frozen}))
            qformer = create_qformer(config.qformer, image.width, corpus)
            tower = cls(qformer, image, config.width, config.widths)
        tower.adopt(config)
        return tower

    @classmethod
    def _from_checkpoint(cls, config: Blip2Config, path: Path, corpus: Sequence[str]) -> Blip2Tower:
        model = load_blip2(path)
        writes = hasattr(model, "language_model")
        frozen = config.image.frozen or "frozen" not in config.image.model_fields_set
        image = ImageEncoder.from_checkpoint(path, config.image.layer, frozen, model.vision_model)
        tokenizer = train_tokenizer(corpus, config.qformer.vocab_size) if writes else load_tokenizer(path)
        qformer = qformer_of(model.config, tokenizer, config.qformer.max_tokens)
        fill_qformer(qformer, model.state_dict())
        tower = cls(qformer, image, config.width if writes else model.config.image_text_hidden_size, config.widths)
        if writes:
            kind = model.config.text_config.model_type
            if kind not in ARCHITECTURES:
                raise ConfigError(f"{path} has a {kind!r} language model.", f"It can be {', '.join(ARCHITECTURES)}.")
            tower.language = LanguageModel.around(
                model.language_model, load_tokenizer(path), config.language.max_tokens, frozen=True
            )
            tower.connector = model.language_projection
        else:
            tower.image_projection = model.vision_projection
            tower.text_projection = model.text_projection
            tower.match_head = model.itm_head
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> Blip2Tower:
        image = ImageEncoder.restore(description["image"])
        qformer = QFormer.restore(description["qformer"], tokenizer)
        tower = cls(qformer, image, description["width"], description["widths"])
        tower.prompt = description["prompt"]
        if description["language"] is not None:
            words = Tokenizer.from_str(json.dumps(description["language_tokenizer"]))
            tower.language = LanguageModel.restore(description["language"], words)
            tower._connect(description["connector"])
        tower._enter(description["stage"])
        return tower

    def describe(self) -> dict[str, Any]:
        language = self.language
        return {
            "image": self.image.describe(),
            "qformer": self.text.describe(),
            "stage": self.stage,
            "connector": self.connector_kind,
            "prompt": self.prompt,
            "language": language and language.describe(),
            "language_tokenizer": language and json.loads(language.tokenizer.to_str()),
        }

    def adopt(self, config: Blip2Config) -> None:
        """Enter the config's stage, freeze what it says; a tower that comes from stage 1 gets its language model here.

        Raises:
            ConfigError: stage 2 has no language model.
        """
        self.prompt, self.hardness = config.prompt, config.hardness
        if "frozen" in config.image.model_fields_set and self.image.kind != FEATURES:
            self.image.frozen = config.image.frozen
        if config.stage == 2:
            if self.language is None:
                if config.language.checkpoint is None:
                    raise ConfigError("Stage 2 has no language model.", "Set `language.checkpoint`.")
                frozen = config.language.model_copy(update={"frozen": True})
                self.language = LanguageModel.create(frozen, ()).to(self.device)
            if self.connector is None or self.connector_kind != config.connector:
                self._connect(config.connector)
        self._enter(config.stage)

    def _connect(self, kind: Connector) -> None:
        assert self.language is not None
        self.connector_kind = kind
        projector = ProjectorConfig(kind="mlp" if kind == "mlp" else "linear")
        width = self.image.width if kind == "mlp" else self.text.width
        self.connector = make_projector(projector, width, self.language.width).to(self.device)

    def _enter(self, stage: int) -> None:
        """Declare what learns: in stage 1 all but a frozen image encoder, in stage 2 what feeds the language model."""
        self.stage = stage
        self.image.frozen = self.image.frozen or stage == 2
        self.requires_grad_(stage == 1)
        self.image.backbone.requires_grad_(not self.image.frozen)
        for part in (self.language, self.connector):
            if part is not None:
                part.requires_grad_(stage == 2 and part is self.connector)
        if stage == 2:
            for name, parameter in self.named_parameters(recurse=False):
                parameter.requires_grad_(name != "contrast_scale")  # the others are the trainer's
            if self.connector_kind == "qformer":
                self.image_norm.requires_grad_(True)
                for parameter in self.text.query_parameters():
                    parameter.requires_grad_(True)
        able: list[Capability] = ["zero_shot", "caption"]
        if stage == 2:
            able.append("generate")
        if stage == 1 or self.connector_kind == "mlp":  # else the queries that the match head knows have moved on
            able.append("match")
        self.capabilities = frozenset(able)

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        """The read-outs, and what the queries saw (``states``, ``memory``, ``asked``, ``past``), for the objective."""
        states = self.image.states(inputs.images)
        memory = self._look(states)
        asked, past = self.text.ask(memory)
        text, image = self._text_state(inputs.tokens), asked.mean(dim=1)
        out: dict[str, Tensor] = self.fusion(
            text, image, self.text_projection(text), self.image_projection(image), inputs.has_text, inputs.has_image
        )
        return {**out, "states": states, "memory": memory, "asked": asked, "past": past}

    def read_text(self, tokens: Tensor) -> Tensor:
        return unit(self.text_projection(self._text_state(tokens)))

    def read_image(self, images: Tensor) -> Tensor:
        asked, _ = self.text.ask(self._memory(images))
        return unit(self.image_projection(asked.mean(dim=1)))

    def objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stage 1: ``contrast``, ``match`` and ``caption``; stage 2: ``caption`` by the language model.

        The wrong pairs that matching judges are drawn evenly at first and by their similarity at the end of the run.
        """
        rows = (batch.inputs.has_text & batch.inputs.has_image).nonzero()[:, 0]
        tokens = self.text.cut(batch.inputs.tokens[rows])
        if self.stage == 2:
            prefix = self._prefix(out["states"][rows], out["asked"][rows])
            if not len(rows):
                return {"caption": prefix.sum() * 0.0}
            losses, counts = self._language_nll(tokens, prefix)
            return {"caption": losses.sum() / counts.sum()}
        if not len(rows):
            zero = out["asked"].sum() * 0.0
            return {"contrast": zero, "match": zero, "caption": zero}
        memory, same = out["memory"][rows], batch.same[rows][:, rows]
        similarity = self.contrast_scale.exp() * self.similarity(out["asked"][rows], out["text"][rows])
        target = same / same.sum(dim=1, keepdim=True)
        contrast = (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
        hardness = self.hardness * batch.step / batch.steps  # hard from the start, they teach nothing but to say no
        pairs = matching_pairs(hardness * similarity.detach(), same, batch.random)
        match = self._matching_loss(tokens, memory, *pairs)
        losses, counts = self._caption_nll(tokens, out["past"][rows], SMOOTHING)
        return {"contrast": contrast, "match": match, "caption": losses.sum() / counts.sum().clamp(min=1)}

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        clamp_logit_scale(self.contrast_scale)

    def similarity(self, asked: Tensor, text: Tensor) -> Tensor:
        """Cosine ``[n, m]`` of the best query of each picture with each text (2301.12597).

        Args:
            asked: query states ``[n, q, width of the Q-Former]``.
            text: read-outs of texts ``[m, width]``.
        """
        queries = unit(self.image_projection(asked))
        return torch.einsum("nqd,md->nmq", queries, text).amax(dim=2)

    @property
    def contrast_temperature(self) -> float:
        return self.contrast_scale.neg().exp().item()

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        logits = self._match(self.text.cut(tokens), self._memory(images))
        return logits[:, 1] - logits[:, 0]

    def caption_nll(self, tokens: Tensor, images: Tensor) -> Tensor:
        states, tokens = self.image.states(images), self.text.cut(tokens)
        if self.stage == 2:
            losses, counts = self._language_nll(tokens, self._prefix(states))
        else:
            _, past = self.text.ask(self._look(states))
            losses, counts = self._caption_nll(tokens, past)
        return losses.sum(dim=1) / counts.clamp(min=1)

    @torch.inference_mode()
    def write_captions(
        self, images: Tensor, max_tokens: int, top_p: float | None = None, random: torch.Generator | None = None
    ) -> list[str]:
        if self.stage == 2:
            return self.generate([self.prompt] * len(images), images, max_tokens, top_p, random)
        if not len(images):
            return []
        text = self.text
        _, past = text.ask(self._memory(images))
        token = torch.full((len(images), 1), text.start_id, device=past.device)
        ended = torch.zeros(len(images), 1, dtype=torch.bool, device=past.device)
        written: list[Tensor] = []
        for _ in range(min(max_tokens, text.max_tokens)):
            hidden, past = text.tell(token, past)
            token = next_token(text.predict(hidden[:, -1]), top_p, random)[:, None]
            ended = ended | (token == text.end_id)
            written.append(token.masked_fill(ended, text.pad_id))
            if bool(ended.all()):
                break
        return text.texts(torch.cat(written, dim=1)) if written else [""] * len(images)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        images: Tensor,
        max_tokens: int,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]:
        """What the language model writes after each picture and the prompt beside it; stage 2 only.

        Args:
            prompts: one a picture, such as a question.
            images: what the image encoder reads.
            max_tokens: longest answer.
            top_p: as in :meth:`write_captions`.
            random: likewise.
        """
        language = self._language
        prefix = self._prefix(self.image.states(images))
        starts = [[*language.start_ids, *language.ids(prompt)] for prompt in prompts]
        longest = max((len(ids) for ids in starts), default=0)
        rows = [ids + [language.pad_id] * (longest - len(ids)) for ids in starts]
        ids = torch.tensor(rows, dtype=torch.long, device=prefix.device).reshape(len(prompts), longest)
        lengths = torch.tensor([prefix.size(1) + len(ids) for ids in starts], device=prefix.device)
        embeddings = torch.cat([prefix, language.embed(ids)], dim=1)
        mask = torch.arange(embeddings.size(1), device=prefix.device) < lengths[:, None]
        return language.generate(embeddings, mask, max_tokens, top_p, random)

    @property
    def _language(self) -> LanguageModel:
        if self.language is None:
            raise ArtifactError("This tower has no language model.", "Train it for stage 2 first.")
        return self.language

    def _memory(self, images: Tensor) -> Tensor:
        return self._look(self.image.states(images))

    def _look(self, states: Tensor) -> Tensor:
        return self.text.look(self.image_norm(states.float()))

    def _text_state(self, tokens: Tensor) -> Tensor:
        return self.text.read(self.text.cut(tokens))[:, 0]

    def _match(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Logits ``[n, 2]``, no or yes: the mean over what each query says (2301.12597)."""
        out: Tensor = self.match_head(self.text.match(tokens, memory)).float().mean(dim=1)
        return out

    def _matching_loss(self, tokens: Tensor, memory: Tensor, texts: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of pairs of rows; texts of like length are judged together, which spares most of the padding."""
        lengths = (tokens != self.text.pad_id).sum(dim=1)
        order = lengths[texts].argsort(stable=True)
        logits = [
            self._match(self.text.cut(tokens[texts[part]]), memory[images[part]]) for part in order.chunk(LENGTH_GROUPS)
        ]
        return matching_loss(torch.cat(logits), labels[order])

    def _caption_nll(self, tokens: Tensor, past: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Loss of each token ``[n, length - 1]`` written by the Q-Former, 0 for padding; tokens a text ``[n]``."""
        start = tokens.new_full((len(tokens), 1), self.text.start_id)
        hidden, _ = self.text.tell(torch.cat([start, tokens[:, 1:-1]], dim=1)[:, : tokens.size(1) - 1], past)
        labels = tokens[:, 1:]
        real = labels != self.text.pad_id
        logits = self.text.predict(hidden[real])
        losses = F.cross_entropy(logits, labels[real].long(), label_smoothing=smoothing, reduction="none")
        return losses.new_zeros(real.shape).masked_scatter(real, losses), real.sum(dim=1)

    def _prefix(self, states: Tensor, asked: Tensor | None = None) -> Tensor:
        """What the language model reads of a picture, ``[n, q or t, width of the language model]``."""
        assert self.connector is not None
        if self.connector_kind == "qformer" and asked is None:
            asked, _ = self.text.ask(self._look(states))
        seen: Tensor = self.connector(states.float() if self.connector_kind == "mlp" else asked)
        return seen

    def _language_nll(self, tokens: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each token of the texts in the language model's own tokens ``[n, length]``; tokens a text ``[n]``.

        Picture, start and prompt carry no label; the end token does.
        """
        language = self._language
        space = " " if self.prompt else ""
        ids = language.tokens([space + text for text in self.text.texts(tokens)])
        labels = torch.from_numpy(ids).to(prefix.device).long()
        lengths = (labels != language.pad_id).sum(dim=1, keepdim=True)
        labels = F.pad(labels, (0, 1), value=language.pad_id).scatter(1, lengths, language.eos_id)
        labels = labels[:, : int(lengths.max()) + 1]
        given = torch.tensor([*language.start_ids, *language.ids(self.prompt)], dtype=torch.long, device=prefix.device)
        words = language.embed(torch.cat([given.expand(len(labels), -1), labels[:, :-1]], dim=1))
        hidden = language.hidden(torch.cat([prefix, words], dim=1))[:, prefix.size(1) + len(given) - 1 :]
        real = torch.arange(labels.size(1), device=labels.device) <= lengths
        return language.token_nll(hidden, labels.masked_fill(~real, IGNORED)), real.sum(dim=1)


def matching_pairs(similarity: Tensor, same: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs to judge: each text with its picture, with one hard wrong picture, and each picture with a hard wrong text.

    Args:
        similarity: of pictures and texts, ``[n, n]``.
        same: pairs that are no negatives, symmetric bool ``[n, n]``.
        random: on the CPU.

    Returns:
        Rows of the texts, rows of the pictures and labels, 1 for a match; n to 3n of each, none where no wrong one is.
    """
    images = draw_hard_negatives(similarity.T, same, random)
    texts = draw_hard_negatives(similarity, same, random)
    own = torch.arange(len(same), device=same.device)
    rows = torch.cat([own, own[images >= 0], texts[texts >= 0]])
    columns = torch.cat([own, images[images >= 0], own[texts >= 0]])
    return rows, columns, (torch.arange(len(rows), device=same.device) < len(same)).long()
