from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaForCausalLM
from transformers.models.opt.modeling_opt import OPTConfig, OPTForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2Config, Qwen2ForCausalLM

from recsys.encoders.causal_lm import EOS, IGNORED, LanguageModel, LanguageModelConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ConfigError

CORPUS = [
    "红色的苹果，很好吃。 a red apple #fruit #apple",
    "蓝色的大海! a blue sea, and a boat.",
    "green hills 绿色山丘",
] * 3
TINY = LanguageModelConfig(max_tokens=16, vocab_size=200, width=16, layers=2, heads=2)
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel.create(TINY, CORPUS).eval()


def checkpoint(path: Path, kind: str, pad: int | None = 0) -> tuple[Any, Tokenizer]:
    """A tiny random model in the hub's format whose texts start with [CLS] and end with [SEP]."""
    tokenizer = train_tokenizer(CORPUS, 200)
    start, end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", start)])
    settings = {**SIZES, "vocab_size": tokenizer.get_vocab_size(), "bos_token_id": start, "eos_token_id": end}
    settings |= {"pad_token_id": pad, "initializer_range": 0.3}
    torch.manual_seed(1)
    made: Any
    if kind == "opt":
        settings |= {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 64, "init_std": 0.3}
        made = OPTForCausalLM(OPTConfig(**settings))
    elif kind == "llama":
        made = LlamaForCausalLM(LlamaConfig(intermediate_size=32, tie_word_embeddings=False, **settings))
    else:
        made = Qwen2ForCausalLM(Qwen2Config(intermediate_size=32, num_key_value_heads=1, **settings))
    made.eval().save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    return made, tokenizer


@pytest.mark.parametrize(
    "text", ["红色的苹果，很好吃。", "a red apple #fruit #apple", "a blue sea, and a boat.", "苹果 apple"]
)
def test_what_is_written_reads_as_it_was_meant(model: LanguageModel, text: str) -> None:
    assert model.decode(model.ids(text)) == text


def test_tokens_are_bare_texts_cut_and_padded_at_the_right(model: LanguageModel) -> None:
    tokens = model.tokens(["a red apple", "", " ".join(["apple"] * 40)])
    assert tokens.shape == (3, 16)
    assert tokens[0].tolist() == [*model.ids("a red apple"), *[model.pad_id] * 13]
    assert (tokens[1] == model.pad_id).all()
    assert (tokens[2] == model.ids("apple")[0]).all()


def test_the_users_words_never_become_special_tokens(model: LanguageModel) -> None:
    ids = model.ids(f"red {EOS} [PAD] [CLS] apple")
    assert not {model.eos_id, model.pad_id, *model.start_ids} & set(ids)


@pytest.mark.parametrize("kind", ["llama", "opt", "qwen2"])
def test_a_checkpoint_gives_the_logits_and_the_words_of_transformers(tmp_path: Path, kind: str) -> None:
    theirs, tokenizer = checkpoint(tmp_path, kind)
    ours = LanguageModel.from_checkpoint(tmp_path, 16).eval()
    assert ours.start_ids == [tokenizer.token_to_id("[CLS]")]
    ids = torch.tensor([[*ours.start_ids, *ours.ids("a red apple and a boat")]])
    with torch.inference_mode():
        expected = theirs(input_ids=ids).logits
        torch.testing.assert_close(ours.logits(ours.hidden(ours.embed(ids))), expected, atol=1e-5, rtol=0)
        written = theirs.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        mask = torch.ones_like(ids, dtype=torch.bool)
        assert ours.generate(ours.embed(ids), mask, 8) == [
            ours.decode([id for id in written.tolist() if id != ours.eos_id])
        ]


@pytest.mark.parametrize("kind", ["llama", "opt", "qwen2"])
def test_padding_on_either_side_changes_nothing(tmp_path: Path, kind: str) -> None:
    checkpoint(tmp_path, kind)
    model = LanguageModel.from_checkpoint(tmp_path, 16).eval()
    short = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0))
    left, right = F.pad(short, (0, 0, 4, 0), value=9.0), F.pad(short, (0, 0, 0, 4), value=9.0)
    mask = torch.tensor([[True] * 3 + [False] * 4])
    with torch.inference_mode():
        alone = model.hidden(short)
        torch.testing.assert_close(model.hidden(left, mask.flip(1))[:, 4:], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.hidden(right, mask)[:, :3], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.hidden(right)[:, :3], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "opt", "qwen2"])
def test_writing_with_a_cache_and_in_a_batch_equals_writing_alone_without(tmp_path: Path, kind: str) -> None:
    checkpoint(tmp_path, kind)
    model = LanguageModel.from_checkpoint(tmp_path, 16).eval()
    embeddings = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4, [False] * 3 + [True] * 3])
    expected = []
    with torch.inference_mode():
        for row, there in zip(embeddings, mask, strict=True):
            prefix, written = row[there][None], []
            for _ in range(7):
                scores = model.logits(model.hidden(prefix))[0, -1]
                scores[model.pad_id] = -torch.inf
                token = int(scores.argmax())
                if token == model.eos_id:
                    break
                written.append(token)
                prefix = torch.cat([prefix, model.embed(torch.tensor([[token]]))], dim=1)
            expected.append(model.decode(written))
    assert model.generate(embeddings, mask, 7) == expected
    assert len(set(expected)) > 1


def test_sampling_follows_the_generator(model: LanguageModel) -> None:
    embeddings, mask = torch.randn(4, 3, 16), torch.ones(4, 3, dtype=torch.bool)
    one, again, other = (
        model.generate(embeddings, mask, 6, top_p=0.9, random=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert one == again != other


def test_scores_of_answers_are_their_log_likelihoods(model: LanguageModel) -> None:
    embeddings = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    answers = ["a red apple", "boat", ""]
    scores = model.score(embeddings, mask, answers)
    for row in range(2):
        for column, answer in enumerate(answers):
            ids = torch.tensor([*model.ids(answer), model.eos_id])
            prefix = embeddings[row][mask[row]]
            with torch.inference_mode():
                states = model.hidden(torch.cat([prefix, model.embed(ids[:-1])])[None])[0, len(prefix) - 1 :]
                expected = model.logits(states).log_softmax(dim=1)[torch.arange(len(ids)), ids].sum()
            assert float(scores[row, column]) == pytest.approx(float(expected), abs=1e-4)


def test_losses_are_cross_entropies_where_there_are_labels(model: LanguageModel) -> None:
    hidden = torch.randn(2, 3, 16)
    labels = torch.tensor([[5, IGNORED, 7], [IGNORED, IGNORED, 9]])
    expected = F.cross_entropy(model.logits(hidden).transpose(1, 2), labels, reduction="none")
    torch.testing.assert_close(model.token_nll(hidden, labels), expected)


def test_new_tokens_start_at_the_mean_and_old_ones_stay(tmp_path: Path) -> None:
    checkpoint(tmp_path, "llama")
    model = LanguageModel.from_checkpoint(tmp_path, 16, frozen=True)
    words, head = model.model.get_input_embeddings().weight.clone(), model.model.lm_head.weight.clone()
    red = model.tokenizer.token_to_id("red")
    ids = model.add_tokens(["<new>", "red", "<other>"])
    assert ids == [len(words), red, len(words) + 1]
    now, head_now = model.model.get_input_embeddings().weight, model.model.lm_head.weight
    torch.testing.assert_close(now[ids[0]], words.mean(dim=0))
    torch.testing.assert_close(head_now[ids[2]], head.mean(dim=0))
    torch.testing.assert_close(now[: len(words)], words)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_checkpoint_without_padding_gets_a_token_for_it(tmp_path: Path) -> None:
    theirs, tokenizer = checkpoint(tmp_path, "llama", pad=None)
    tokenizer = Tokenizer.from_str(tokenizer.to_str().replace("[PAD]", "[NOPAD]"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = LanguageModel.from_checkpoint(tmp_path, 16)
    assert model.pad_id == theirs.config.vocab_size
    assert model.tokens(["red"]).tolist() == [[tokenizer.token_to_id("red"), *[model.pad_id] * 15]]


def test_a_frozen_model_lets_gradients_through(model: LanguageModel) -> None:
    frozen = LanguageModel.create(TINY.model_copy(update={"frozen": True}), CORPUS).train()
    embeddings = torch.randn(1, 3, 16, requires_grad=True)
    frozen.hidden(embeddings).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert not frozen.model.training


def test_a_description_brings_back_the_shape(model: LanguageModel) -> None:
    again = LanguageModel.restore(model.describe(), Tokenizer.from_str(model.tokenizer.to_str())).eval()
    again.load_state_dict(model.state_dict())
    embeddings = torch.randn(1, 3, 16)
    torch.testing.assert_close(again.hidden(embeddings), model.hidden(embeddings), atol=0, rtol=0)
    assert again.describe() == model.describe()
    assert again.start_ids == model.start_ids


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ConfigError, match="t5"):
        LanguageModel.from_checkpoint(tmp_path, 16)
