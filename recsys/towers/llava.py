"""LLaVA item tower: pictures become words of a causal language model, which describes, tags and embeds (2304.08485).

The vector of an item is the state of an embedding token at the end of its prompt. One pass gives two of the three
read-outs and the loss of the caption:

    start | picture | [EMB] | text | [EMB]

The first [EMB] sees the picture alone. Nothing behind sees it in turn: the text continues right after the picture, at
the position of the [EMB], and reads what it would read without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from recsys.config import BaseConfig
from recsys.encoders.causal_lm import IGNORED, LanguageModel, LanguageModelConfig
from recsys.encoders.decoder_attention import attend_fast
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.encoders.llava_checkpoint import PROJECTOR, load_llava
from recsys.encoders.projector import ProjectorConfig, make_projector
from recsys.towers.abilities import Captioning
from recsys.towers.base import Capability, ItemBatch, TowerInputs, TrainingBatch
from recsys.towers.conversation import IMAGE, ROLE_TOKENS, ConversationEncoder
from recsys.towers.instructions import Task, asked, instructions, language_of, parse_hashtags, question, vocabulary
from recsys.towers.tower import ROWS_AT_ONCE, unit


class LlavaConfig(BaseConfig):
    """The three parts, what is trained, and what for.

    Stage 1 aligns: a caption follows the picture, and only what connects them is trained. Stage 2 tunes on instructions
    and trains whatever is not ``frozen``; a tower from scratch starts there. LLaVA freezes the image encoder in both.
    """

    family: Literal["llava"] = "llava"
    checkpoint: Path | None = None  # a whole LLaVA; its image encoder stays frozen, and reads the layer it names
    llm: LanguageModelConfig = LanguageModelConfig()
    image: ImageConfig = ImageConfig()  # of a CLIP, LLaVA reads layer -2
    projector: ProjectorConfig = ProjectorConfig()
    width: int = 64
    widths: tuple[int, ...] = ()  # smaller ones to serve from the same weights
    stage: Literal[1, 2] = 2
    caption_weight: float = Field(default=1.0, ge=0)
    instruction_weight: float = Field(default=1.0, ge=0)  # stage 2


class LlavaTower(Captioning):
    """Image encoder, projector and causal language model, with an embedding token.

    Args:
        text: the language model.
        image: encoder of pictures.
        projector: which one brings its states into the language model.
        width: d of the vectors.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    family = "llava"
    capabilities: frozenset[Capability] = frozenset({"zero_shot", "caption", "generate"})
    reads_states: ClassVar[bool] = True
    text: LanguageModel

    def __init__(
        self,
        text: LanguageModel,
        image: ImageEncoder,
        projector: ProjectorConfig,
        width: int,
        widths: Sequence[int] = (),
    ) -> None:
        super().__init__(width, widths)
        self.text = text
        attend_fast(text.model)
        self.image = image
        self.projector_config = projector
        self.projector = make_projector(projector, image.width, text.width)
        self.embedding_token = nn.Parameter(text.mean_embedding())
        self.head = nn.Linear(text.width, width)
        self.conversations = ConversationEncoder(text)
        self.stage = 2
        self.caption_weight = self.instruction_weight = 1.0

    @classmethod
    def create(cls, config: LlavaConfig, corpus: Sequence[str]) -> Self:
        if config.checkpoint is not None:
            text, image, projector = load_llava(config.checkpoint, config.llm.max_tokens)
            tower = cls(text, image, PROJECTOR, config.width, config.widths)
            tower.projector.load_state_dict(projector.state_dict())
        else:
            roles = ROLE_TOKENS if config.llm.checkpoint is None else ()
            text = LanguageModel.create(config.llm, [*corpus, *vocabulary()], roles)
            image = ImageEncoder.create(config.image)
            tower = cls(text, image, config.projector, config.width, config.widths)
        tower.adopt(config)
        return tower

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> Self:
        text = LanguageModel.restore(description["text"], tokenizer)
        image, projector = ImageEncoder.restore(description["image"]), ProjectorConfig(**description["projector"])
        return cls(text, image, projector, description["width"], description["widths"])

    def describe(self) -> dict[str, Any]:
        return {
            "text": self.text.describe(),
            "image": self.image.describe(),
            "projector": self.projector_config.model_dump(),
        }

    def adopt(self, config: LlavaConfig) -> None:
        self.stage = config.stage
        self.caption_weight, self.instruction_weight = config.caption_weight, config.instruction_weight
        self.text.frozen = config.stage == 1 or config.llm.frozen
        self.text.model.requires_grad_(not self.text.frozen)
        if self.image.reads_pixels:
            self.image.frozen = config.stage == 1 or config.image.frozen or config.checkpoint is not None
            self.image.backbone.requires_grad_(not self.image.frozen)
            for parameter in _unread(self.image):
                parameter.requires_grad_(False)

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        """The read-outs; and, of items with a picture, its tokens ``pictures`` and the ``states`` of the prompt."""
        n = len(inputs)
        tokens = inputs.tokens.masked_fill(~inputs.has_text[:, None], self.text.pad_id)
        pictures = self._pictures(inputs.images[inputs.has_image])
        states, image, fused = self._read(pictures, tokens[inputs.has_image])
        image, fused = (_spread(unit(self.head(read)), inputs.has_image, n) for read in (image, fused))
        text = _spread(self.read_text(tokens[inputs.has_text]), inputs.has_text, n)
        fused = torch.where(inputs.has_image[:, None], fused, text)
        return {"fused": fused, "text": text, "image": image, "pictures": pictures, "states": states}

    def read_text(self, tokens: Tensor) -> Tensor:
        words, lengths = self._words(tokens)
        states = self._hidden([self._start(len(tokens)), words])
        return unit(self.head(_at(states, len(self.text.start_ids) + lengths)))

    def read_image(self, images: Tensor) -> Tensor:
        pictures = self._pictures(images)
        n = len(pictures)
        return unit(self.head(self._hidden([self._start(n), pictures, self._embedding_tokens(n)])[:, -1]))

    def objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        losses = {"caption": self.caption_weight * self._caption_loss(batch, out["states"])}
        if self.stage == 2 and self.instruction_weight:
            losses["instruction"] = self.instruction_weight * self._instruction_loss(batch, out["pictures"])
        return losses

    def caption_nll(self, tokens: Tensor, images: Tensor) -> Tensor:
        labels = self._caption_labels(tokens)
        words = self.text.embed(tokens[:, : labels.shape[1] - 1])
        states = self._hidden([self._start(len(tokens)), self._pictures(images), words])
        nll = self.text.token_nll(states[:, -labels.shape[1] :], labels)
        return nll.sum(dim=1) / (labels != IGNORED).sum(dim=1).clamp(min=1)

    def write_captions(
        self, images: Tensor, max_tokens: int, top_p: float | None = None, random: torch.Generator | None = None
    ) -> list[str]:
        pictures = self._pictures(images)
        prefix = torch.cat([self._start(len(pictures)), pictures], dim=1)
        mask = torch.ones(prefix.shape[:2], dtype=torch.bool, device=prefix.device)
        return self.text.generate(prefix, mask, max_tokens, top_p, random)

    def language_logits(self, ids: Tensor, images: Tensor) -> Tensor:
        """Scores of the next token ``[n, length, vocabulary]`` in texts with pictures.

        Args:
            ids: token ids ``[n, length]``; :data:`recsys.towers.conversation.IMAGE` where a token of a picture goes.
            images: in the order in which the texts show them, as in :class:`recsys.towers.base.TowerInputs`.
        """
        return self.text.logits(self.text.hidden(self._shown(ids, self._pictures(images))))

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        batch: ItemBatch,
        max_tokens: int = 32,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]:
        """What the tower says to each prompt about the item beside it, whose picture and text it is shown.

        Args:
            prompts: one an item.
            batch: the items.
            max_tokens: longest answer.
            top_p: see :meth:`write_captions`.
            random: likewise.
        """
        self.eval()
        answers: list[str] = []
        for prefix, mask in self._prompted(prompts, batch, ROWS_AT_ONCE):
            answers += self.text.generate(prefix, mask, max_tokens, top_p, random)
        return answers

    def generate_captions(self, batch: ItemBatch) -> list[str]:
        """A caption or title for each item; where there is a picture, of the picture alone."""
        alone = [None if image is not None else text for text, image in zip(batch.texts, batch.images, strict=True)]
        return self.generate(_questions("caption", batch.texts), ItemBatch(alone, batch.images))

    def generate_tags(self, batch: ItemBatch) -> list[tuple[str, ...]]:
        """Hashtags for each item."""
        return [parse_hashtags(answer) for answer in self.generate(_questions("tags", batch.texts), batch)]

    @torch.inference_mode()
    def generate_category(self, batch: ItemBatch, among: Sequence[str] = ()) -> list[str]:
        """A category for each item.

        Args:
            batch: the items.
            among: categories to choose from, by their likelihood as an answer; without any, the tower may say anything.
        """
        prompts = _questions("category", batch.texts)
        if not among:
            return self.generate(prompts, batch)
        self.eval()
        chosen: list[str] = []
        for prefix, mask in self._prompted(prompts, batch, max(1, ROWS_AT_ONCE // len(among))):
            chosen += [among[best] for best in self.text.score(prefix, mask, among).argmax(dim=1).tolist()]
        return chosen

    def _pictures(self, images: Tensor) -> Tensor:
        """Pictures as tokens ``[n, image tokens, width of the language model]``."""
        tokens: Tensor = self.projector(self.image.states(images)[:, self.image.first_patch :])
        return tokens

    def _start(self, n: int) -> Tensor:
        ids = torch.tensor(self.text.start_ids, dtype=torch.long, device=self.device)
        return self.text.embed(ids).expand(n, -1, -1)

    def _embedding_tokens(self, n: int) -> Tensor:
        return self.embedding_token.expand(n, 1, -1)

    def _words(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of texts, each followed by the embedding token, ``[n, longest + 1, width]``, and their lengths."""
        lengths = (tokens != self.text.pad_id).sum(dim=1)
        longest = int(lengths.max()) if len(lengths) else 0
        words = nn.functional.pad(self.text.embed(tokens[:, :longest]), (0, 0, 0, 1))
        ends = torch.arange(longest + 1, device=tokens.device) == lengths[:, None]
        return torch.where(ends[..., None], self.embedding_token, words), lengths

    def _hidden(self, parts: Sequence[Tensor]) -> Tensor:
        sequence = torch.cat(list(parts), dim=1)
        return self.text.hidden(sequence) if len(sequence) else sequence

    def _read(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States of the prompt in this file's head, of its first and its last embedding token."""
        n = len(pictures)
        words, lengths = self._words(tokens)
        parts = [self._start(n), pictures, self._embedding_tokens(n)]
        first = sum(part.shape[1] for part in parts) - 1
        if words.shape[1] == 1 or n == 0:
            states = self._hidden(parts)
            return states, states[:, first], states[:, first]
        sequence = torch.cat([*parts, words], dim=1)
        length = sequence.shape[1]
        sees = torch.ones(length, length, dtype=torch.bool, device=sequence.device).tril()
        sees[first + 1 :, first] = False
        positions = torch.arange(length, device=sequence.device)
        positions = positions - (positions > first).long()
        states = self.text.hidden(sequence, sees[None, None], positions[None])
        return states, states[:, first], _at(states, first + 1 + lengths)

    def _caption_labels(self, tokens: Tensor) -> Tensor:
        """Tokens of texts and the end, ``[n, longest + 1]``; the end of a text that was cut is unknown."""
        lengths = (tokens != self.text.pad_id).sum(dim=1)
        longest = int(lengths.max()) if len(lengths) else 0
        labels = nn.functional.pad(tokens[:, :longest].long(), (0, 1))
        places = torch.arange(longest + 1, device=tokens.device)
        end = torch.where(lengths < tokens.shape[1], self.text.eos_id, IGNORED)
        labels = torch.where(places == lengths[:, None], end[:, None], labels)
        return labels.masked_fill(places > lengths[:, None], IGNORED)

    def _caption_loss(self, batch: TrainingBatch, states: Tensor) -> Tensor:
        """Mean loss per token of the texts beside pictures, of the states of the whole prompt."""
        inputs = batch.inputs
        usable = inputs.has_text[inputs.has_image]
        tokens = inputs.tokens[inputs.has_image].masked_fill(~usable[:, None], self.text.pad_id)
        labels = self._caption_labels(tokens).masked_fill(~usable[:, None], IGNORED)
        longest = labels.shape[1] - 1
        if longest == 0 or len(labels) == 0:
            return states.sum() * 0.0
        first = states.shape[1] - longest - 2
        before = torch.cat([states[:, first - 1 : first], states[:, first + 1 : -1]], dim=1)
        return self.text.token_nll(before, labels).sum() / (labels != IGNORED).sum().clamp(min=1)

    def _instruction_loss(self, batch: TrainingBatch, pictures: Tensor) -> Tensor:
        """Mean loss per token of the answers about the notes."""
        has_image = batch.inputs.has_image.tolist()
        talks = [instructions(note, seen, batch.random) for note, seen in zip(batch.notes, has_image, strict=True)]
        spoken = [bool(talk) for talk in talks]
        encoded = [self.conversations.encode(talk, pictures.shape[1]) for talk in talks if talk]
        if not encoded:
            return pictures.sum() * 0.0
        ids, labels, _ = (part.to(self.device) for part in self.conversations.collate(encoded))
        shown = torch.tensor([talked for talked, seen in zip(spoken, has_image, strict=True) if seen], dtype=torch.bool)
        states = self.text.hidden(self._shown(ids, pictures[shown.to(self.device)]))
        answers = labels[:, 1:]
        return self.text.token_nll(states[:, :-1], answers).sum() / (answers != IGNORED).sum().clamp(min=1)

    def _shown(self, ids: Tensor, pictures: Tensor) -> Tensor:
        """Embeddings of ids, with the tokens of pictures where they go."""
        places = ids == IMAGE
        assert int(places.sum()) == pictures.shape[0] * pictures.shape[1], "places and tokens of pictures differ"
        words = self.text.embed(ids.masked_fill(places, self.text.pad_id))
        return words.masked_scatter(places[..., None], pictures.to(words.dtype))

    def _prompted(self, prompts: Sequence[str], batch: ItemBatch, rows_at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings ``[rows, longest, width]`` of the items and the prompts, and where something stands, in parts."""
        for start in range(0, len(batch), rows_at_once):
            rows = slice(start, start + rows_at_once)
            there = [image is not None for image in batch.images[rows]]
            present = [image for image in batch.images[rows] if image is not None]
            pictures = self._pictures(torch.from_numpy(self.image.prepare(present)).to(self.device))
            shown = zip(prompts[rows], batch.texts[rows], there, strict=True)
            talks = [self.conversations.encode([asked(*turn)], pictures.shape[1]) for turn in shown]
            ids, _, mask = (part.to(self.device) for part in self.conversations.collate(talks))
            yield self._shown(ids, pictures), mask


def _questions(task: Task, texts: Sequence[str | None]) -> list[str]:
    return [question(task, language_of(text or "")) for text in texts]


def _at(states: Tensor, places: Tensor) -> Tensor:
    """The state at one place in each row, ``[n, width]``."""
    return states[torch.arange(len(states), device=states.device), places]


def _spread(values: Tensor, rows: Tensor, n: int) -> Tensor:
    """Values at the rows that are set, ``[n, d]``, zeros elsewhere."""
    return (
        values if len(values) == n else values.new_zeros(n, values.shape[1]).index_put((rows.nonzero()[:, 0],), values)
    )


@torch.enable_grad()
def _unread(image: ImageEncoder) -> list[nn.Parameter]:
    """Trainable parameters that no gradient reaches: of layers above the one whose states are read, of a pooler."""
    trainable = [parameter for parameter in image.backbone.parameters() if parameter.requires_grad]
    if not trainable:
        return []
    training = image.training
    image.eval()
    blank = torch.zeros(1, 3, image.pixels, image.pixels, dtype=torch.uint8, device=image.mean.device)
    gradients = torch.autograd.grad(image.states(blank).sum(), trainable, allow_unused=True)
    image.train(training)
    return [parameter for parameter, gradient in zip(trainable, gradients, strict=True) if gradient is None]
