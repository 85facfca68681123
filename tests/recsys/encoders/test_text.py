from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tokenizers import Tokenizer
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.clip.modeling_clip import CLIPModel

from recsys.encoders.text import TextConfig, TextEncoder
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
SHORT, LONG = "red", "a photo of a dog and a red ball"
START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    tokenizer = train_tokenizer(CORPUS, 100)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=20, **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def states(encoder: TextEncoder, *texts: str) -> torch.Tensor:
    with torch.inference_mode():
        return cast(torch.Tensor, encoder.eval()(torch.from_numpy(encoder.tokens(texts))))


@torch.inference_mode()
def test_bert_is_the_mean_over_its_tokens_or_the_first(bert_folder: Path) -> None:
    bert = BertModel.from_pretrained(bert_folder).eval()
    ids = Tokenizer.from_file(str(bert_folder / "tokenizer.json")).encode("red 苹果").ids
    hidden = bert(input_ids=torch.tensor([ids])).last_hidden_state[0]
    mean = TextEncoder.create(TextConfig(checkpoint=bert_folder), [])
    torch.testing.assert_close(states(mean, "red 苹果", CORPUS[0])[0], hidden.mean(dim=0), rtol=0, atol=1e-5)
    first = TextEncoder.create(TextConfig(checkpoint=bert_folder, pooling="cls"), [])
    torch.testing.assert_close(states(first, "red 苹果", CORPUS[0])[0], hidden[0], rtol=0, atol=1e-5)


def test_a_checkpoint_may_say_how_it_pools(bert_folder: Path) -> None:
    (bert_folder / "1_Pooling").mkdir()
    (bert_folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert TextEncoder.create(TextConfig(checkpoint=bert_folder), []).pooling == "cls"
    assert TextEncoder.create(TextConfig(checkpoint=bert_folder, pooling="mean"), []).pooling == "mean"


def test_attention_is_fused(bert_folder: Path, clip_folder: Path) -> None:
    fresh = TextEncoder.create(TextConfig(width=16, layers=1, heads=2, vocab_size=100), CORPUS)
    for encoder in (fresh, *(TextEncoder.from_checkpoint(path, 12) for path in (bert_folder, clip_folder))):
        assert cast(Any, encoder.backbone).config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["clip", "chinese_clip", "siglip"])
def test_a_dual_encoder_gives_its_text_side_alone(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    whole = TextEncoder.create(TextConfig(checkpoint=folder), [])
    assert whole.kind == f"{kind}_text_model"
    cast(Any, whole.backbone).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_text((folder / file).read_text())
    alone = TextEncoder.create(TextConfig(checkpoint=tmp_path), [])
    torch.testing.assert_close(states(alone, SHORT, LONG), states(whole, SHORT, LONG))
    again = TextEncoder.restore(json.loads(json.dumps(whole.describe())), whole.tokenizer)
    again.load_state_dict(whole.state_dict())
    torch.testing.assert_close(states(again, SHORT, LONG), states(whole, SHORT, LONG))
    torch.testing.assert_close(states(whole, SHORT, LONG)[:1], states(whole, SHORT))


@pytest.mark.parametrize(
    ("specials", "pad"),
    [([START, END], END), ([PAD, START, END], PAD), ([START, END, PAD], PAD)],
    ids=["end token pads", "pad before end", "pad is the largest id"],
)
@pytest.mark.parametrize("eos_token_id", [None, 2], ids=["own end id", "end id 2 of old configs"])
@torch.inference_mode()
def test_padding_never_moves_the_end_of_a_text(
    write_clip: Callable[..., CLIPModel], tmp_path: Path, specials: list[str], pad: str, eos_token_id: int | None
) -> None:
    """An ``eos_token_id`` of 2 makes ``transformers`` read a text at its largest id, be that the padding."""
    model = write_clip(tmp_path, specials, pad, eos_token_id)
    encoder = TextEncoder.create(TextConfig(checkpoint=tmp_path), [])
    ids = [Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids for text in (SHORT, LONG)]
    expected = [model.text_model(input_ids=torch.tensor([row])).pooler_output[0] for row in ids]
    torch.testing.assert_close(states(encoder, SHORT, LONG), torch.stack(expected), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_text_that_is_cut_keeps_its_end(clip_folder: Path) -> None:
    encoder = TextEncoder.from_checkpoint(clip_folder, max_tokens=6)
    row = encoder.tokens([LONG])[0].tolist()
    assert len(row) == 6
    assert [encoder.tokenizer.id_to_token(row[place]) for place in (0, -1)] == [START, END]
    expected = cast(Any, encoder.eval().backbone)(input_ids=torch.tensor([row])).last_hidden_state[:, -1]
    torch.testing.assert_close(states(encoder, SHORT, LONG)[1:], expected)


def test_a_tokenizer_that_does_not_end_texts_where_the_model_reads_is_refused(
    write_clip: Callable[..., CLIPModel], tmp_path: Path
) -> None:
    write_clip(tmp_path, [START, END], END, eos_token_id=7)
    with pytest.raises(ConfigError, match="token 7"):
        TextEncoder.from_checkpoint(tmp_path, 12)


def test_padding_costs_nothing_and_changes_nothing(bert_folder: Path) -> None:
    encoder = TextEncoder.from_checkpoint(bert_folder, 20)
    tokens = torch.from_numpy(encoder.tokens(CORPUS))
    longest = int((tokens != encoder.pad_id).sum(dim=1).max())
    assert longest < 20
    seen: list[int] = []
    encoder.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    torch.testing.assert_close(encoder.eval()(tokens), encoder(tokens[:, :longest]))
    assert seen == [longest, longest]


def test_a_frozen_encoder_stays_in_evaluation_and_gets_no_gradient(bert_folder: Path) -> None:
    encoder = TextEncoder.from_checkpoint(bert_folder, 12, frozen=True).train()
    assert not encoder.backbone.training
    assert not encoder(torch.from_numpy(encoder.tokens(CORPUS))).requires_grad


def test_weights_that_are_missing_are_not_made_up(chinese_clip_folder: Path, tmp_path: Path) -> None:
    """``transformers`` would read the text side of this folder as random numbers, with a warning."""
    settings = json.loads((chinese_clip_folder / "config.json").read_text())["text_config"]
    (tmp_path / "config.json").write_text(json.dumps({**settings, "model_type": "chinese_clip_text_model"}))
    (tmp_path / "tokenizer.json").write_text((chinese_clip_folder / "tokenizer.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((chinese_clip_folder / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"lacks .* tensors of a ChineseCLIPTextModel"):
        TextEncoder.from_checkpoint(tmp_path, 12)
