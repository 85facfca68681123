"""Causal language model with its tokenizer: states, next-token scores and text after a prefix of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.opt.configuration_opt import OPTConfig
from transformers.models.opt.modeling_opt import OPTForCausalLM
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

from recsys.config import BaseConfig
from recsys.encoders.checkpoints import load_model, model_type
from recsys.encoders.next_token import next_token
from recsys.encoders.tokenizer import CLS, PAD, PAD_ID, load_tokenizer, train_tokenizer
from recsys.exceptions import ConfigError

ARCHITECTURES: Mapping[str, tuple[type[Any], type[Any]]] = {  # by ``model_type`` of the hub's config.json
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "opt": (OPTConfig, OPTForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
EOS = "[EOS]"
IGNORED = -100
LONGEST_CONTEXT = 4096
_CJK = r"[\u2E80-\u303F\u3040-\u30FF\u3400-\u9FFF\uF900-\uFAFF\uFF00-\uFFEF]"


class LanguageModelConfig(BaseConfig):
    """A small Qwen2 trained from scratch; a checkpoint brings its own kind and sizes, but for ``max_tokens``."""

    checkpoint: Path | None = None
    frozen: bool = False  # never trained; gradients still pass through to what feeds it
    max_tokens: int = Field(default=48, ge=2)  # of an item's text
    vocab_size: int = Field(default=8000, ge=100)
    width: int = 128
    layers: int = 3
    heads: int = 4


class LanguageModel(nn.Module):
    """A decoder that reads embeddings, so that pictures and learned tokens can stand among the words.

    The ids of the tokenizer's special tokens never come out of a text: what a user writes stays text.

    Args:
        kind: one of :data:`ARCHITECTURES`.
        model: of that kind, with its language modelling head.
        tokenizer: made for it.
        max_tokens: longer texts are cut.
        pad_id: fills rows up; ``None`` adds a token for it.
        eos_id: ends a text.
        frozen: see :class:`LanguageModelConfig`.
    """

    def __init__(
        self,
        kind: str,
        model: nn.Module,
        tokenizer: Tokenizer,
        max_tokens: int,
        pad_id: int | None,
        eos_id: int,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.model: Any = model
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.start_ids: list[int] = list(tokenizer.encode("").ids)
        tokenizer.encode_special_tokens = True
        self.max_tokens = max_tokens
        self.frozen = frozen
        self.eos_id = eos_id
        self.pad_id = self.add_tokens([PAD])[0] if pad_id is None else pad_id
        if frozen:
            self.model.requires_grad_(False)

    @classmethod
    def create(
        cls, config: LanguageModelConfig, corpus: Sequence[str], special_tokens: Sequence[str] = ()
    ) -> LanguageModel:
        """From the checkpoint, or fresh weights and a WordPiece tokenizer trained on ``corpus``."""
        if config.checkpoint is not None:
            loaded = cls.from_checkpoint(config.checkpoint, config.max_tokens, config.frozen)
            loaded.add_tokens(special_tokens)
            return loaded
        tokenizer = train_tokenizer(corpus, config.vocab_size)
        tokenizer.add_special_tokens([PAD, CLS, EOS, *special_tokens])
        start_id, eos_id = (cast(int, tokenizer.token_to_id(name)) for name in (CLS, EOS))
        tokenizer.post_processor = TemplateProcessing(single=f"{CLS} $A", special_tokens=[(CLS, start_id)])
        tokenizer.decoder = readable_wordpiece()
        sizes = Qwen2Config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            intermediate_size=4 * config.width,
            max_position_embeddings=LONGEST_CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=PAD_ID,
            eos_token_id=eos_id,
            bos_token_id=start_id,
        )
        return cls("qwen2", Qwen2ForCausalLM(sizes), tokenizer, config.max_tokens, PAD_ID, eos_id, config.frozen)

    @classmethod
    def from_checkpoint(cls, path: Path, max_tokens: int, frozen: bool = False) -> LanguageModel:
        """A causal language model in the hub's format, in float32.

        Raises:
            ConfigError: it is of a kind we do not know.
            ArtifactError: weights or tokenizer are missing.
        """
        kind = model_type(path)
        if kind not in ARCHITECTURES:
            raise ConfigError(f"{path} holds a {kind!r} model.", f"Language models can be {', '.join(ARCHITECTURES)}.")
        return cls.around(load_model(ARCHITECTURES[kind][1], path), load_tokenizer(path), max_tokens, frozen)

    @classmethod
    def around(cls, model: nn.Module, tokenizer: Tokenizer, max_tokens: int, frozen: bool = False) -> LanguageModel:
        """A model of ``transformers``, whose config names the ids of its end and padding."""
        config: Any = model.config
        eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
        pad = config.pad_token_id
        if (pad is None or pad < 0) and tokenizer.padding is not None:
            pad = tokenizer.padding["pad_id"]
        return cls(config.model_type, model, tokenizer, max_tokens, pad, eos, frozen)

    def describe(self) -> dict[str, Any]:
        """Everything but weights and tokenizer, as JSON."""
        model = self.model.config.to_diff_dict()
        model.pop("_name_or_path", None)
        return {
            "kind": self.kind,
            "model": model,
            "max_tokens": self.max_tokens,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
            "frozen": self.frozen,
        }

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> LanguageModel:
        """Fresh weights in the shape that :meth:`describe` told."""
        config, model = ARCHITECTURES[description["kind"]]
        names = ("max_tokens", "pad_id", "eos_id", "frozen")
        return cls(
            description["kind"],
            model(config.from_dict(description["model"])),
            tokenizer,
            **{name: description[name] for name in names},
        )

    @property
    def width(self) -> int:
        """Of the embeddings it reads and of its hidden states."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    def train(self, mode: bool = True) -> Self:
        """A frozen model stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, bare and as long as it is."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Token ids int32 ``[n, max_tokens]`` of bare texts, cut and padded at the right."""
        out = np.full((len(texts), self.max_tokens), self.pad_id, np.int32)
        for row, encoding in enumerate(self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)):
            ids = encoding.ids[: self.max_tokens]
            out[row, : len(ids)] = ids
        return out

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    @torch.no_grad()
    def add_tokens(self, names: Sequence[str]) -> list[int]:
        """Ids of special tokens; those that are new start at the mean embedding, so that they surprise nobody."""
        known = self.tokenizer.get_vocab_size()
        self.tokenizer.add_special_tokens(list(names))
        ids = [cast(int, self.tokenizer.token_to_id(name)) for name in names]
        new = [id for id in ids if id >= known]
        if not new:
            return ids
        if max(new) >= len(self.model.get_input_embeddings().weight):
            self.model.resize_token_embeddings(max(new) + 1, mean_resizing=False)
        matrices = {id(part.weight): part.weight for part in (self._words, self.model.get_output_embeddings())}
        for weight in matrices.values():
            weight[new] = weight[:known].mean(dim=0)
        if self.frozen:
            self.model.requires_grad_(False)
        return ids

    @property
    def _words(self) -> nn.Embedding:
        embedding: nn.Embedding = self.model.get_input_embeddings()
        return embedding

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings ``[..., width]`` of token ids."""
        out: Tensor = self._words(ids)
        return out

    def mean_embedding(self) -> Tensor:
        """Of the words it knows, ``[width]``: where a new token starts."""
        return self._words.weight[: self.tokenizer.get_vocab_size()].detach().mean(dim=0)

    def hidden(self, embeddings: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Final hidden states ``[n, length, width]``; those of padding mean nothing.

        Args:
            embeddings: ``[n, length, width]``.
            mask: where something stands, bool ``[n, length]``; or who sees whom, bool ``[n or 1, 1, length, length]``.
                Leave it out where padding is at the right only: a causal model never looks there, and runs faster.
            positions: int ``[n or 1, length]``; default: counted over what stands there.
        """
        if mask is not None and mask.ndim == 2:
            positions = positions_of(mask) if positions is None else positions
            mask = mask.long()
        out = self.model.base_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        )
        return out.last_hidden_state  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token ``[..., vocabulary]`` after hidden states ``[..., width]``."""
        out: Tensor = self.model.get_output_embeddings()(hidden)
        return out

    def token_nll(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Negative log likelihood ``[n, length]`` of the token that should follow each state; 0 where ignored.

        Scores are computed only where there is a label: the vocabulary is wide.

        Args:
            hidden: ``[n, length, width]``.
            labels: what follows each position, ``[n, length]``: already shifted; ``-100`` is ignored.
        """
        wanted = labels != IGNORED
        losses = F.cross_entropy(self.logits(hidden[wanted]).float(), labels[wanted].long(), reduction="none")
        return losses.new_zeros(labels.shape).masked_scatter(wanted, losses)

    @torch.inference_mode()
    def generate(
        self,
        embeddings: Tensor,
        mask: Tensor,
        max_tokens: int,
        top_p: float | None = None,
        random: torch.Generator | None = None,
    ) -> list[str]:
        """Texts that go on after prefixes of embeddings, up to the end token.

        Args:
            embeddings: ``[n, length, width]``.
            mask: where something stands, bool ``[n, length]``; every row holds something.
            max_tokens: longest text.
            top_p: sample from the smallest set of tokens of this probability (1904.09751); default: the likeliest.
            random: for sampling, on the CPU.
        """
        rows = len(mask)
        if rows == 0 or max_tokens == 0:
            return [""] * rows
        embeddings, mask = left_padded(embeddings, mask)
        padded = not bool(mask.all())
        positions = positions_of(mask)
        cache, ended = None, torch.zeros(rows, dtype=torch.bool, device=mask.device)
        written: list[Tensor] = []
        for _ in range(max_tokens):
            out = self.model.base_model(
                inputs_embeds=embeddings,
                attention_mask=mask.long() if padded else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            logits = self.logits(out.last_hidden_state[:, -1]).float()
            if self.pad_id != self.eos_id:
                logits[:, self.pad_id] = -torch.inf
            token = torch.where(ended, self.eos_id, next_token(logits, top_p, random))
            ended = ended | (token == self.eos_id)
            written.append(token)
            if bool(ended.all()):
                break
            embeddings, positions = self.embed(token[:, None]), positions[:, -1:] + 1
            mask = F.pad(mask, (0, 1), value=True)
        answers = torch.stack(written, dim=1).tolist()
        return [self.decode(ids[: ids.index(self.eos_id)] if self.eos_id in ids else ids) for ids in answers]

    @torch.inference_mode()
    def score(self, embeddings: Tensor, mask: Tensor, answers: Sequence[str]) -> Tensor:
        """Log likelihood ``[n, answers]`` of each answer with its end token, after each prefix.

        The prefixes are read once, however many answers there are.

        Args:
            embeddings: ``[n, length, width]``.
            mask: where something stands, bool ``[n, length]``; every row holds something.
            answers: texts.
        """
        rows = len(mask)
        if rows == 0 or not answers:
            return embeddings.new_zeros(rows, len(answers))
        embeddings, mask = left_padded(embeddings, mask)
        positions = positions_of(mask)
        prefix = self.model.base_model(
            inputs_embeds=embeddings, attention_mask=mask.long(), position_ids=positions, use_cache=True
        )
        written = [[*self.ids(answer), self.eos_id] for answer in answers]
        longest = max(map(len, written))
        labels = torch.tensor([ids + [IGNORED] * (longest - len(ids)) for ids in written], device=mask.device)
        cache, n = prefix.past_key_values, len(written)
        cache.batch_repeat_interleave(n)
        labels = labels.repeat(rows, 1)
        steps = torch.arange(1, longest, device=mask.device)
        out = prefix.last_hidden_state[:, -1:].repeat_interleave(n, dim=0)
        if longest > 1:
            there = labels[:, :-1] != IGNORED
            rest = self.model.base_model(
                inputs_embeds=self.embed(labels[:, :-1].clamp(min=0)),
                attention_mask=torch.cat([mask.repeat_interleave(n, dim=0), there], dim=1).long(),
                position_ids=positions[:, -1:].repeat_interleave(n, dim=0) + steps,
                past_key_values=cache,
                use_cache=True,
            )
            out = torch.cat([out, rest.last_hidden_state], dim=1)
        return -self.token_nll(out, labels).sum(dim=1).reshape(rows, n)


def positions_of(mask: Tensor) -> Tensor:
    """Positions ``[n, length]`` counted over what stands there, whatever the side of the padding."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def left_padded(embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same rows with their padding moved to the left, and no more of it than the longest row needs."""
    order = mask.long().argsort(dim=1, stable=True)[:, -int(mask.sum(dim=1).max()) :]
    return embeddings.gather(1, order[..., None].expand(-1, -1, embeddings.shape[2])), mask.gather(1, order)


def readable_wordpiece() -> decoders.Decoder:
    """Decoder of WordPiece that writes Chinese without spaces, and hashtags in one piece."""
    return decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Fuse(),
            decoders.Replace(Regex(rf"(?<={_CJK}) (?={_CJK})|(?<=#) "), ""),
        ]
    )
