"""Weights of BLIP and BERT checkpoints in the hub's format, against the forward passes of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM
from transformers.models.blip.configuration_blip import BlipConfig
from transformers.models.blip.modeling_blip import BlipForConditionalGeneration, BlipForImageTextRetrieval

from recsys.encoders.blip_checkpoint import fill_from_blip, grounded_sizes, load_blip_vision
from recsys.encoders.grounded_bert import GroundedBert
from recsys.encoders.grounded_text import GroundedText, GroundedTextConfig
from recsys.encoders.hub_weights import hub_config, hub_weights
from recsys.encoders.image import ImageEncoder
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError

CORPUS = ["a red apple", "the blue sea", "green hills 绿色"]


def blip_config(vocab_size: int, **text: Any) -> BlipConfig:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    return BlipConfig(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": 16,
            "max_position_embeddings": 12,
            "bos_token_id": vocab_size - 2,
            "sep_token_id": 3,
            **sizes,
            **text,
        },
        vision_config={"hidden_size": 24, "image_size": 16, "patch_size": 8, "initializer_range": 0.02, **sizes},
        image_text_hidden_size=8,
    )


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight away from its start, so that no swapped pair of zeros or ones goes unseen."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def written(model: torch.nn.Module, path: Path) -> Path:
    model.save_pretrained(path)
    train_tokenizer(CORPUS, 100).save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("kind", [BlipForImageTextRetrieval, BlipForConditionalGeneration])
def test_the_image_encoder_gives_the_states_of_blips_own(tmp_path: Path, kind: Any) -> None:
    theirs = randomised(kind(blip_config(60)))
    ours = ImageEncoder.from_checkpoint(written(theirs, tmp_path))
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    scaled = (pixels.float() / 255 - ours.mean) / ours.std
    with torch.no_grad():
        want, got = theirs.vision_model(scaled).last_hidden_state, ours.states(pixels)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.pool(got), want[:, 0], atol=1e-5, rtol=1e-5)
    assert ours.first_patch == 1


def test_two_pictures_look_different_to_a_restored_image_encoder(tmp_path: Path) -> None:
    """BLIP's own configuration starts weights at a spread of 1e-10, and every picture would look the same."""
    torch.manual_seed(0)
    config = blip_config(60)
    config.vision_config.initializer_range = 1e-10
    theirs = BlipForImageTextRetrieval(config)
    description = ImageEncoder.from_checkpoint(written(theirs, tmp_path)).describe()
    fresh = ImageEncoder.restore(description).eval()
    pixels = torch.stack([torch.zeros(3, 16, 16), torch.full((3, 16, 16), 255.0)]).to(torch.uint8)
    with torch.no_grad():
        black, white = fresh(pixels)
    assert (black - white).abs().max() > 1e-2


def test_an_image_encoder_alone_is_read_too(tmp_path: Path) -> None:
    theirs = randomised(BlipForImageTextRetrieval(blip_config(60)))
    theirs.vision_model.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        got, want = load_blip_vision(tmp_path)(pixels), theirs.vision_model(pixels)
    torch.testing.assert_close(got.last_hidden_state, want.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_the_role_that_a_checkpoint_lacks_is_a_copy_of_the_other(tmp_path: Path) -> None:
    for name, kind in (("retrieval", BlipForImageTextRetrieval), ("captions", BlipForConditionalGeneration)):
        path = written(randomised(kind(blip_config(60))), tmp_path / name)
        bert = GroundedBert(grounded_sizes(hub_config(path)["text_config"], 24))
        fill_from_blip(bert, hub_weights(path))
        for layer in bert.layers:
            for name, weight in layer.attention.named_parameters():
                assert torch.equal(weight, layer.writing_attention.get_parameter(name))


def test_with_both_roles_each_keeps_its_self_attention(tmp_path: Path) -> None:
    """A checkpoint of BLIP's authors' own layout: both models, of which the encoder's shared part is taken."""
    reader = written(randomised(BlipForImageTextRetrieval(blip_config(60))), tmp_path / "reader")
    writer = written(randomised(BlipForConditionalGeneration(blip_config(60))), tmp_path / "writer")
    weights = {name: tensor + 1 for name, tensor in hub_weights(writer).items()} | hub_weights(reader)
    bert = GroundedBert(grounded_sizes(hub_config(reader)["text_config"], 24))
    fill_from_blip(bert, weights)
    inner = "encoder.layer.1.attention.output.dense.weight"
    layer = bert.layers[1]
    assert torch.equal(layer.attention.residual.output.weight, weights[f"text_encoder.{inner}"])
    assert torch.equal(layer.writing_attention.residual.output.weight, weights[f"text_decoder.bert.{inner}"])
    feed_forward = weights["text_encoder.encoder.layer.1.intermediate.dense.weight"]
    assert torch.equal(layer.feed_forward.inner.weight, feed_forward)


def test_tokens_that_a_checkpoint_does_not_know_start_as_the_mean_word(tmp_path: Path) -> None:
    known = train_tokenizer(CORPUS, 100).get_vocab_size()
    path = written(randomised(BlipForConditionalGeneration(blip_config(known))), tmp_path)
    weights = hub_weights(path)
    text = GroundedText.from_blip(path, weights, 24, 12)
    assert text.bert.sizes.vocab_size == known + 2
    words = weights["text_decoder.bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(text.bert.words.weight[:known], words)
    torch.testing.assert_close(text.bert.words.weight[known:], words.mean(dim=0).expand(2, -1))


def test_published_vocabularies_have_their_role_tokens_behind_the_tokenizers(tmp_path: Path) -> None:
    """Hub tokenizers stop at 30,522 tokens, the embeddings at 30,524: [DEC] is the first spare row, [ENC] the next."""
    known = train_tokenizer(CORPUS, 100).get_vocab_size()
    path = written(randomised(BlipForConditionalGeneration(blip_config(known + 2))), tmp_path)
    weights = hub_weights(path)
    text = GroundedText.from_blip(path, weights, 24, 12)
    assert (text.write_id, text.match_id) == (known, known + 1)
    assert text.write_id == hub_config(path)["text_config"]["bos_token_id"]
    assert torch.equal(text.bert.words.weight, weights["text_decoder.bert.embeddings.word_embeddings.weight"])


def test_a_bert_reads_as_it_did(tmp_path: Path) -> None:
    vocabulary = train_tokenizer(CORPUS, 100).get_vocab_size()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    theirs = randomised(BertForMaskedLM(BertConfig(vocab_size=vocabulary, max_position_embeddings=12, **sizes)))
    config = GroundedTextConfig(checkpoint=written(theirs, tmp_path), max_tokens=12)
    text = GroundedText.create(config, 24, []).eval()
    tokens = torch.from_numpy(text.tokens(CORPUS)).long()
    with torch.no_grad():
        want = theirs.bert(tokens, attention_mask=tokens != text.pad_id).last_hidden_state[:, 0]
        torch.testing.assert_close(text(tokens), want, atol=1e-5, rtol=1e-5)
        hidden = torch.randn(3, 16)
        scores = text.bert.logits(hidden)[:, :vocabulary]
        torch.testing.assert_close(scores, theirs.cls(hidden), atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = written(BlipForImageTextRetrieval(blip_config(60)), tmp_path)
    with pytest.raises(ConfigError, match="'relu'"):
        grounded_sizes({"model_type": "blip_text_model", "hidden_act": "relu"}, 24)
    with pytest.raises(ConfigError, match="no BERT"):
        GroundedText.create(GroundedTextConfig(checkpoint=path), 24, [])
    weights = load_file(path / "model.safetensors")
    del weights["text_encoder.encoder.layer.1.output.dense.weight"]
    save_file(weights, path / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"layers\.1\.feed_forward"):
        GroundedText.from_blip(path, hub_weights(path), 24, 12)
