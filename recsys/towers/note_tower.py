"""NoteTower: what both generations of NoteLLM share: notes are compressed to one word, and described in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.encoders.causal_lm import LanguageModel
from recsys.encoders.decoder_attention import attend_fast
from recsys.towers.base import ItemBatch, TrainingBatch
from recsys.towers.note_prompt import ANSWER_TOKENS, NotePrompter, Part, Prompts, Question
from recsys.towers.note_tasks import draw_tasks, with_hashtag
from recsys.towers.tower import ROWS_AT_ONCE, Tower, unit

GENERATIVE_WEIGHT = 0.01
INITIAL_PAIR_SCALE = 3.0
FEWEST_TOGETHER, MOST_PARTS = 32, 4  # prompts are read in parts of like length


class NoteTower(Tower, ABC):
    """A causal language model reads a prompt, and the state of the prompt's last token becomes the vector.

    That is the state from which the model would write ``[EMB]``, the one word the note is compressed to (2403.01744).

    NoteLLM's loss is (L_cl + a L_gen) / (1 + a). L_cl between items that people engage with together comes from the
    trainer, with the learned temperature exp(tau) that starts at tau = 3; :meth:`objective` adds a L_gen. The common
    factor 1 / (1 + a) changes nothing under AdamW and is left out.

    Args:
        text: the language model.
        width: of the vector.
        widths: see :class:`recsys.towers.tower.Tower`.
    """

    text: LanguageModel

    def __init__(self, text: LanguageModel, width: int, widths: Sequence[int] = ()) -> None:
        super().__init__(width, widths)
        self.text = text
        attend_fast(text.model)
        self.prompter = NotePrompter(text)
        self.projection = nn.Linear(text.width, width)
        self.generative_weight, self.asked_share = GENERATIVE_WEIGHT, 1.0
        nn.init.constant_(self.pair_scale, INITIAL_PAIR_SCALE)

    @property
    def has_objective(self) -> bool:
        return self.generative_weight > 0

    @abstractmethod
    def pictures(self, images: Tensor) -> Tensor:
        """What stands in the spots of prompts, ``[n, spots, llm width]``, of images as in :class:`TowerInputs`."""

    def adopt(self, config: Any) -> None:
        self.generative_weight, self.asked_share = config.generative_weight, config.asked_share
        self.text.frozen = config.llm.frozen
        self.text.model.requires_grad_(not config.llm.frozen)

    def read_text(self, tokens: Tensor) -> Tensor:
        shown = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        prompts = self.prompter.compose(tokens, shown, ~shown)
        states = self.states(prompts, torch.zeros(0, 0, self.text.width, device=tokens.device))
        return unit(self.projection(at(states, prompts.end(Part.COMPRESS))))

    def objective(self, batch: TrainingBatch, out: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The a L_gen: cross-entropy a token of categories, and of hashtags that were taken out of their notes."""
        pictures, has_image = out["pictures"], batch.inputs.has_image
        looked_at = (has_image & (pictures.shape[1] > 0)).tolist()
        tasks = [
            task for task in draw_tasks(batch.notes, self.asked_share, batch.random) if task.text or looked_at[task.row]
        ]
        if self.generative_weight == 0 or not tasks:
            return {}
        rows = torch.tensor([task.row for task in tasks], device=self.device)
        tokens = torch.from_numpy(self.text.tokens([task.text for task in tasks])).to(self.device)
        has_text = torch.tensor([task.text != "" for task in tasks], device=self.device)
        ending = [self.prompter.ask([t.kind for t in tasks]), self.prompter.answer([t.answer for t in tasks])]
        prompts = self.prompter.compose(tokens, has_text, has_image[rows], pictures.shape[1], ending)
        labels = prompts.next_tokens(Part.ANSWER)
        losses = self.text.token_nll(self.states(prompts, pictures[rows[has_image[rows]]]), labels)
        return {"generation": self.generative_weight * losses.sum() / (labels >= 0).sum()}

    def states(self, prompts: Prompts, pictures: Tensor) -> Tensor:
        """Hidden states ``[n, length, llm width]``; prompts of like length are read together, which spares padding.

        Args:
            prompts: of n notes.
            pictures: what stands in their spots, ``[notes with spots, spots, llm width]``.
        """
        n, longest = prompts.tokens.shape
        if n == 0:
            return torch.zeros(0, 1, self.text.width, device=self.device)
        embedded, lengths = self.embedded(prompts, pictures), prompts.mask.sum(dim=1)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.split(max(FEWEST_TOGETHER, -(-n // MOST_PARTS))):
            length = int(lengths[rows[-1]])
            hidden = self.text.hidden(embedded[rows, :length])
            parts.append(F.pad(hidden, (0, 0, 0, longest - length)))
        return torch.cat(parts)[order.argsort()]

    def embedded(self, prompts: Prompts, pictures: Tensor) -> Tensor:
        """Prompts as the language model reads them, see :meth:`states`."""
        words = self.text.embed(prompts.tokens)
        return words.masked_scatter((prompts.parts == Part.SPOTS)[..., None], pictures.to(words.dtype))

    @torch.inference_mode()
    def generate_category(self, batch: ItemBatch, among: Sequence[str] = ()) -> list[str]:
        """A category for each item.

        Args:
            batch: the items.
            among: categories to choose from, by their likelihood as an answer; without any, the tower may say anything.
        """
        if not among:
            return self._written(batch, "category")
        asked = self._asked(batch, "category")
        return [among[best] for prompts in asked for best in self.text.score(*prompts, among).argmax(dim=1).tolist()]

    def generate_tags(self, batch: ItemBatch, most: int = 3) -> list[tuple[str, ...]]:
        """Up to ``most`` further hashtags for each item, each written in view of those before it."""
        texts = [text or "" for text in batch.texts]
        tags: list[tuple[str, ...]] = [() for _ in texts]
        rows = list(range(len(texts)))
        for _ in range(most):
            items = ItemBatch([texts[row] or None for row in rows], [batch.images[row] for row in rows])
            answers, asked, rows = self._written(items, "hashtag"), rows, []
            for row, tag in zip(asked, answers, strict=True):
                extended = with_hashtag(texts[row], tag)
                if extended != texts[row]:  # a tag that is there already would be written again and again
                    texts[row] = extended
                    tags[row] += (tag,)
                    rows.append(row)
        return tags

    @torch.inference_mode()
    def _written(self, batch: ItemBatch, kind: Question) -> list[str]:
        asked = self._asked(batch, kind)
        return [answer for prompts in asked for answer in self.text.generate(*prompts, ANSWER_TOKENS)]

    def _asked(self, batch: ItemBatch, kind: Question) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings and mask of prompts that end in a question, some items at a time."""
        self.eval()
        for start in range(0, len(batch), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            inputs = self.inputs(ItemBatch(batch.texts[part], batch.images[part]))
            pictures = self.pictures(inputs.images[inputs.has_image])
            ending = [self.prompter.ask([kind] * len(inputs))]
            prompts = self.prompter.compose(inputs.tokens, inputs.has_text, inputs.has_image, pictures.shape[1], ending)
            yield self.embedded(prompts, pictures), prompts.mask


def at(states: Tensor, positions: Tensor) -> Tensor:
    """The state at one position of each row: ``[n, length, width]`` and ``[n]`` -> ``[n, width]``."""
    return states[torch.arange(len(states), device=states.device), positions]
