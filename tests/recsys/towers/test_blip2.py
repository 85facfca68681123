from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers.models.blip_2.configuration_blip_2 import Blip2Config as HubConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.encoders.causal_lm import EOS, LanguageModel, LanguageModelConfig
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.encoders.qformer import START, QFormerConfig
from recsys.encoders.tokenizer import PAD, train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.base import ItemBatch, TrainingBatch
from recsys.towers.blip2 import Blip2Config, Blip2Tower, matching_pairs

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
TRAINERS = {"match_scale", "match_bias", "pair_scale"}  # of the contrast between read-outs
COLOURS = ["red", "blue", "green"]
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "initializer_range": 0.2}
TINY = Blip2Config(
    qformer=QFormerConfig(max_tokens=20, vocab_size=100, width=16, layers=2, heads=2, queries=3, dropout=0.0),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
    width=8,
)


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def training_batch(tower: Blip2Tower, texts: list[str | None], images: list[bytes | None]) -> TrainingBatch:
    inputs, n = tower.inputs(ItemBatch(texts, images)), len(texts)
    return TrainingBatch(
        step=0,
        steps=1,
        rows=torch.arange(n),
        inputs=inputs,
        captions=inputs.tokens,
        has_caption=torch.zeros(n, dtype=torch.bool),
        same=torch.eye(n, dtype=torch.bool),
        notes=(),
        random=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def tower() -> Blip2Tower:
    torch.manual_seed(0)
    return Blip2Tower.create(TINY, CORPUS).eval()


@pytest.fixture
def batch() -> ItemBatch:
    return ItemBatch([CORPUS[0], None, CORPUS[2], None], [picture("red"), picture("blue"), None, None])


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model in the hub's format."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("language")
    model = LanguageModel.create(LanguageModelConfig(vocab_size=100, width=16, layers=1, heads=2), CORPUS)
    with torch.no_grad():
        for parameter in model.parameters():  # at its initial spread a model this narrow says the same to everything
            parameter.add_(0.3 * torch.randn(parameter.shape))
    model.model.save_pretrained(path)
    model.tokenizer.save(str(path / "tokenizer.json"))
    return path


def stage2(language: Path, connector: str = "qformer", prompt: str = "") -> Blip2Config:
    settings: dict[str, Any] = {"language": LanguageModelConfig(checkpoint=language, max_tokens=20)}
    return TINY.model_copy(update={"stage": 2, "connector": connector, "prompt": prompt, **settings})


def language_logits(tower: Blip2Tower, ids: Tensor, images: Tensor) -> Tensor:
    """Scores of the next token after each token of ``ids`` behind the picture."""
    assert tower.language is not None
    prefix = tower._prefix(tower.image.states(images))
    embeddings = torch.cat([prefix, tower.language.embed(ids)], dim=1)
    return tower.language.logits(tower.language.hidden(embeddings)[:, prefix.size(1) :])


def test_rows_are_unit_or_zero_where_nothing_is_there(tower: Blip2Tower, batch: ItemBatch) -> None:
    out = tower.encode_items(batch)
    lengths = {name: np.linalg.norm(vectors, axis=1) for name, vectors in out.items()}
    np.testing.assert_allclose(lengths["fused"], [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["text"], [1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["image"], [1, 1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(out["fused"][1], out["image"][1], atol=1e-6)
    np.testing.assert_allclose(out["fused"][2], out["text"][2], atol=1e-6)
    np.testing.assert_allclose(out["text"][2], tower.encode_text([CORPUS[2]])[0], atol=1e-6)
    np.testing.assert_allclose(out["image"][1], tower.encode_image([picture("blue")])[0], atol=1e-6)


def test_nothing_to_encode_gives_nothing(tower: Blip2Tower) -> None:
    assert tower.encode_text([]).shape == (0, 8)
    assert tower.encode_image([]).shape == (0, 8)
    assert tower.match([], []).shape == (0,)
    assert tower.caption([]) == []


def test_picture_and_text_each_change_the_item(tower: Blip2Tower) -> None:
    texts, images = [CORPUS[0], CORPUS[0], CORPUS[1]], [picture("red"), picture("blue"), picture("red")]
    fused = tower.encode_items(ItemBatch(texts, images))["fused"]
    assert fused[0] @ fused[1] < 0.9999
    assert fused[0] @ fused[2] < 0.9999


def test_a_batch_equals_its_items_one_by_one(tower: Blip2Tower, batch: ItemBatch) -> None:
    together = tower.encode_items(batch)["fused"]
    alone = [
        tower.encode_items(ItemBatch([t], [i]))["fused"][0] for t, i in zip(batch.texts, batch.images, strict=True)
    ]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_vectors_that_items_bring_along_take_the_place_of_pictures() -> None:
    torch.manual_seed(0)
    config = TINY.model_copy(update={"image": ImageConfig(kind="features", width=5)})
    tower = Blip2Tower.create(config, CORPUS).eval()
    features = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    out = tower.encode_items(ItemBatch(CORPUS[:2], list(features)))
    assert out["image"][0] @ out["image"][1] < 0.9999
    assert tower.match(CORPUS[:2], list(features)).shape == (2,)


def test_states_of_a_frozen_image_encoder_are_as_good_as_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ViTModel(ViTConfig(num_hidden_layers=1, image_size=16, patch_size=8, **SIZES)).save_pretrained(tmp_path)
    unsaid, said = ImageConfig(checkpoint=tmp_path), ImageConfig(checkpoint=tmp_path, frozen=False)
    assert not Blip2Tower.create(TINY.model_copy(update={"image": said}), CORPUS).image.frozen
    tower = Blip2Tower.create(TINY.model_copy(update={"image": unsaid}), CORPUS).eval()
    assert tower.image.frozen
    assert tower.reads_states
    inputs = tower.inputs(ItemBatch(CORPUS, [picture(colour) for colour in COLOURS]))
    states = tower.image.states(inputs.images).half()  # as they are cached
    torch.testing.assert_close(tower.read_image(states), tower.read_image(inputs.images), rtol=0, atol=1e-3)
    tower.caption_nll(inputs.tokens, states)
    cached = replace(training_batch(tower, list(CORPUS), [None] * 3), inputs=replace(inputs, images=states))
    assert all(loss.isfinite() for loss in tower.objective(cached, tower(cached.inputs)).values())


def test_a_tower_from_disk_takes_over_what_the_config_freezes(tower: Blip2Tower) -> None:
    tower.adopt(TINY.model_copy(update={"image": ImageConfig(frozen=True)}))
    assert tower.image.frozen
    assert not any(parameter.requires_grad for parameter in tower.image.parameters())
    tower.adopt(TINY)  # says nothing of it
    assert tower.image.frozen
    tower.adopt(TINY.model_copy(update={"image": ImageConfig(frozen=False)}))
    assert all(parameter.requires_grad for parameter in tower.image.parameters())


def test_contrast_takes_the_best_query_and_is_known_by_hand(tower: Blip2Tower) -> None:
    with torch.no_grad():
        tower.image_projection.weight.copy_(torch.eye(8, 16))
        tower.image_projection.bias.zero_()
    asked = torch.zeros(2, 3, 16)
    asked[0, 0, 0] = asked[0, 1, 1] = asked[0, 2, 2] = 2.0
    asked[1, :, 3] = 5.0
    text = torch.tensor([[0.6, 0.8, 0, 0, 0, 0, 0, 0], [0, 0, 0, -1.0, 0, 0, 0, 0]])
    torch.testing.assert_close(tower.similarity(asked, text), torch.tensor([[0.8, 0.0], [0.0, -1.0]]))


def test_matching_pairs_are_own_pairs_and_hard_wrong_ones() -> None:
    similarity = torch.tensor([[9.0, 8.0, -90.0], [-90.0, 9.0, 8.0], [8.0, -90.0, 9.0]])
    texts, images, labels = matching_pairs(similarity, torch.eye(3, dtype=torch.bool), torch.Generator())
    assert labels.tolist() == [1] * 3 + [0] * 6
    assert texts.tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 0]
    assert images.tolist() == [0, 1, 2, 2, 0, 1, 0, 1, 2]


def test_wrong_pairs_grow_hard_over_the_run(tower: Blip2Tower) -> None:
    """At full hardness from the start, a tower trained from scratch never leaves the loss of guessing."""
    with torch.no_grad():
        tower.contrast_scale.fill_(9.0)  # at the end of the run the most similar wrong pair is drawn for sure
    batch = training_batch(tower, list(CORPUS), [picture(colour) for colour in COLOURS])
    out = tower(batch.inputs)
    similarity = tower.contrast_scale.exp() * tower.similarity(out["asked"], out["text"])
    losses = []
    for hardness in (0.0, 0.5, 1.0):
        pairs = matching_pairs(hardness * similarity.detach(), batch.same, torch.Generator().manual_seed(0))
        expected = tower._matching_loss(batch.inputs.tokens, out["memory"], *pairs)
        now = replace(batch, step=int(10 * hardness), steps=10, random=torch.Generator().manual_seed(0))
        losses.append(tower.objective(now, out)["match"])
        torch.testing.assert_close(losses[-1], expected)
    assert losses[0] != losses[2]


def test_a_row_with_no_wrong_partner_left_is_skipped() -> None:
    same = torch.eye(3, dtype=torch.bool)
    same[0] = same[:, 0] = True
    texts, images, labels = matching_pairs(torch.zeros(3, 3), same, torch.Generator())
    assert labels.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert sorted(zip(texts[3:].tolist(), images[3:].tolist(), strict=True)) == [(1, 2), (1, 2), (2, 1), (2, 1)]


@pytest.mark.parametrize("n", [1, 3])
def test_stage_1_learns_with_everything_but_what_belongs_to_the_trainer(tower: Blip2Tower, n: int) -> None:
    batch = training_batch(tower.train(), list(CORPUS[:n]), [picture(colour) for colour in COLOURS[:n]])
    losses = tower.objective(batch, tower(batch.inputs))
    assert set(losses) == {"contrast", "match", "caption"}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    idle = {name for name, p in tower.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    if n > 1:
        assert idle == {*TRAINERS, "fusion.gate.weight", "fusion.gate.bias"}
    else:  # one pair has nothing to be contrasted with, but it is judged and written
        assert losses["contrast"] == 0
        assert losses["match"] > 0
        assert losses["caption"] > 0


def test_captioning_is_smoothed_cross_entropy_of_the_next_token(tower: Blip2Tower) -> None:
    batch = training_batch(tower, list(CORPUS), [picture(colour) for colour in COLOURS])
    out = tower(batch.inputs)
    written = []
    for row, tokens in enumerate(batch.inputs.tokens):
        ids = tokens[tokens != tower.text.pad_id].long()
        given = torch.cat([torch.tensor([tower.text.start_id]), ids[1:-1]])[None]
        hidden, _ = tower.text.tell(given, out["past"][row : row + 1])
        surprise = -tower.text.predict(hidden)[0].log_softmax(dim=1)
        written.append((0.9 * surprise.gather(1, ids[1:, None])[:, 0] + 0.1 * surprise.mean(dim=1), surprise, ids))
    expected = torch.cat([smoothed for smoothed, _, _ in written]).mean()
    torch.testing.assert_close(tower.objective(batch, out)["caption"], expected)
    plain = torch.stack([surprise.gather(1, ids[1:, None]).mean() for _, surprise, ids in written])
    torch.testing.assert_close(tower.caption_nll(batch.inputs.tokens, batch.inputs.images), plain)


def test_items_without_text_or_picture_take_no_part(tower: Blip2Tower) -> None:
    whole = training_batch(tower, list(CORPUS[:2]), [picture("red"), picture("blue")])
    more = training_batch(
        tower, [*CORPUS[:2], None, CORPUS[2]], [picture("red"), picture("blue"), picture("red"), None]
    )
    expected, losses = (tower.objective(batch, tower(batch.inputs)) for batch in (whole, more))
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
    nothing = training_batch(tower, [None, CORPUS[0]], [picture("red"), None])
    losses = tower.objective(nothing, tower(nothing.inputs))
    assert [loss.item() for loss in losses.values()] == [0.0, 0.0, 0.0]
    assert all(loss.requires_grad for loss in losses.values())


def test_a_poisoned_batch_stays_finite(tower: Blip2Tower) -> None:
    batch = training_batch(tower.train(), ["", "", "red " * 500], [picture("black")] * 3)
    for same in (batch.same, torch.ones_like(batch.same)):
        poisoned = replace(batch, same=same)
        tower.zero_grad()
        out = tower(poisoned.inputs)
        losses = tower.objective(poisoned, out)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        assert all(loss.isfinite() for loss in losses.values())
        assert all(p.grad.isfinite().all() for p in tower.parameters() if p.grad is not None)


def test_save_and_load_change_nothing(tower: Blip2Tower, batch: ItemBatch, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = Blip2Tower.load(tmp_path)
    for name, vectors in tower.encode_items(batch).items():
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors)
    images = [picture("red"), picture("blue")]
    np.testing.assert_array_equal(loaded.match(CORPUS[:2], images), tower.match(CORPUS[:2], images))
    assert loaded.caption(images, 4) == tower.caption(images, 4)
    assert loaded.fingerprint == tower.fingerprint
    assert loaded.capabilities == {"zero_shot", "match", "caption"}


def test_it_learns_which_text_belongs_to_which_picture_and_writes_it(tower: Blip2Tower) -> None:
    optimizer = torch.optim.AdamW(tower.parameters(), lr=5e-3)
    images = [picture(colour) for colour in COLOURS]
    batch = training_batch(tower.train(), list(CORPUS), images)
    for _ in range(120):
        optimizer.zero_grad()
        sum(tower.objective(batch, tower(batch.inputs)).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        tower.after_step()
    matches = np.stack([tower.match([text] * 3, images) for text in CORPUS])
    assert matches.diagonal().min() > 0.7
    assert (matches - np.eye(3)).max() < 0.3
    assert tower.caption(images) == CORPUS
    pixels, tokens = batch.inputs.images, batch.inputs.tokens
    assert (2 * tower.caption_nll(tokens, pixels) < tower.caption_nll(tokens, pixels.roll(1, 0))).all()
    sampled = [tower.caption(images, top_p=0.9, random=torch.Generator().manual_seed(seed)) for seed in (3, 3)]
    assert sampled[0] == sampled[1]


def test_stage_2_needs_a_language_model(tower: Blip2Tower) -> None:
    with pytest.raises(ConfigError, match="Stage 2 has no language model"):
        tower.adopt(TINY.model_copy(update={"stage": 2}))
    with pytest.raises(ArtifactError, match="no language model"):
        tower.generate(["a"], torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 3)


@pytest.mark.parametrize("connector", ["qformer", "mlp"])
def test_stage_2_teaches_what_feeds_the_language_model_and_nothing_else(
    tower: Blip2Tower, language: Path, connector: str
) -> None:
    images = [picture(colour) for colour in COLOURS]
    before = tower.encode_items(ItemBatch(CORPUS, images))
    tower.adopt(stage2(language, connector))
    batch = training_batch(tower.train(), list(CORPUS), images)
    assert tower.language is not None
    assert not tower.language.model.training
    assert not tower.image.backbone.training
    losses = tower.objective(batch, tower(batch.inputs))
    assert set(losses) == {"caption"}
    losses["caption"].backward()
    learned = {name for name, p in tower.named_parameters() if p.grad is not None}
    declared = {name for name, p in tower.named_parameters() if p.requires_grad} - TRAINERS
    assert learned == declared
    roots = {name.split(".")[0] for name in learned}
    assert roots == ({"connector"} if connector == "mlp" else {"connector", "image_norm", "text"})
    assert not any(".text_feed." in name or name.startswith(("text.words", "text.head")) for name in learned)
    assert ("match" in tower.capabilities) == (connector == "mlp")  # else the judge knows other queries
    assert "generate" in tower.capabilities
    if connector == "mlp":
        torch.optim.SGD([p for p in tower.parameters() if p.grad is not None], lr=1.0).step()
        for name, vectors in tower.encode_items(ItemBatch(CORPUS, images)).items():
            np.testing.assert_allclose(vectors, before[name], atol=1e-6)


@pytest.mark.parametrize("prompt", ["", "red sea"])
def test_stage_2_labels_the_text_and_its_end_and_nothing_before(tower: Blip2Tower, language: Path, prompt: str) -> None:
    tower.adopt(stage2(language, prompt=prompt))
    images, texts = [picture("red"), picture("blue")], ["red apple", "blue sea"]
    inputs = tower.inputs(ItemBatch(texts, images))
    model = tower.language
    assert model is not None
    expected = []
    for row, text in enumerate(texts):
        given = [*model.start_ids, *model.ids(prompt)]
        wanted = [*model.ids(text), model.eos_id]
        ids = torch.tensor([given + wanted])
        logits = language_logits(tower, ids, inputs.images[row : row + 1])[0, len(given) - 1 : -1]
        expected.append(-logits.log_softmax(dim=1).gather(1, torch.tensor(wanted)[:, None]).mean())
    torch.testing.assert_close(tower.caption_nll(inputs.tokens, inputs.images), torch.stack(expected))


def test_stage_2_survives_saving_and_learns_to_write(tower: Blip2Tower, language: Path, tmp_path: Path) -> None:
    tower.adopt(stage2(language))
    images = [picture(colour) for colour in COLOURS]
    batch = training_batch(tower.train(), list(CORPUS), images)
    optimizer = torch.optim.AdamW([p for p in tower.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(tower.objective(batch, tower(batch.inputs))["caption"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5
    tower.eval().save(tmp_path)
    loaded = Blip2Tower.load(tmp_path)
    assert loaded.caption(images, 6) == tower.caption(images, 6)
    tokens, pixels = batch.inputs.tokens, batch.inputs.images
    torch.testing.assert_close(loaded.caption_nll(tokens, pixels), tower.caption_nll(tokens, pixels), rtol=0, atol=0)
    assert loaded.capabilities == tower.capabilities
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in tower.named_parameters() if p.requires_grad
    }


def test_prompts_of_different_lengths_do_not_disturb_each_other(tower: Blip2Tower, language: Path) -> None:
    tower.adopt(stage2(language))
    pixels = tower.inputs(ItemBatch(CORPUS[:2], [picture("red"), picture("blue")])).images
    prompts = ["red", "blue sea green hills"]
    alone = [tower.generate([prompt], pixels[row : row + 1], 5)[0] for row, prompt in enumerate(prompts)]
    assert tower.generate(prompts, pixels, 5) == alone


def hub_sizes(vocabulary: int) -> dict[str, Any]:
    return {
        "vision_config": {**SIZES, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8},
        "qformer_config": {
            **SIZES,
            "num_hidden_layers": 3,
            "vocab_size": vocabulary,
            "max_position_embeddings": 20,
            "use_qformer_text_input": True,
        },
        "num_query_tokens": 3,
        "image_text_hidden_size": 8,
    }


def randomised(model: Any, path: Path) -> Any:
    """Every tensor random (queries and norms start at constants), written in the hub's format with a preprocessor."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    colours = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (path / "preprocessor_config.json").write_text(json.dumps(colours))
    return model.eval()


def normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    return (pixels / 255 - mean) / std


def test_a_retrieval_checkpoint_gives_what_transformers_gives(tmp_path: Path) -> None:
    torch.manual_seed(2)
    tokenizer = train_tokenizer(CORPUS, 100)
    tokenizer.add_special_tokens([START])
    hub = randomised(Blip2ForImageTextRetrieval(HubConfig(**hub_sizes(tokenizer.get_vocab_size()))), tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    tower = Blip2Tower.create(Blip2Config(checkpoint=tmp_path, qformer=QFormerConfig(max_tokens=12)), ()).eval()

    assert tower.width == 8
    assert tower.image.frozen
    inputs = tower.inputs(ItemBatch(CORPUS, [picture(colour) for colour in COLOURS]))
    tokens = tower.text.cut(inputs.tokens).long()
    theirs = {
        "pixel_values": normalised(inputs.images),
        "input_ids": tokens,
        "attention_mask": (tokens != tower.text.pad_id).long(),
    }
    with torch.inference_mode():
        out = tower(inputs)
        contrast = hub(**theirs).logits_per_image
        assert contrast.std() > 0.01
        torch.testing.assert_close(tower.similarity(out["asked"], out["text"]), contrast, rtol=0, atol=1e-5)
        judged = hub(**theirs, use_image_text_matching_head=True).logits_per_image
        torch.testing.assert_close(tower._match(inputs.tokens, out["memory"]), judged, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            tower.match_logits(inputs.tokens, inputs.images), judged[:, 1] - judged[:, 0], rtol=0, atol=1e-5
        )
    alone = ImageEncoder.from_checkpoint(tmp_path)  # the same folder as an image encoder of any other family
    torch.testing.assert_close(alone.states(inputs.images), tower.image.states(inputs.images))
    tower.save(tmp_path / "ours")
    loaded = Blip2Tower.load(tmp_path / "ours")
    np.testing.assert_array_equal(loaded.encode_text(CORPUS), tower.encode_text(CORPUS))


def test_a_checkpoint_that_writes_gives_what_transformers_gives(tmp_path: Path) -> None:
    torch.manual_seed(3)
    tokenizer = train_tokenizer(CORPUS, 100)
    tokenizer.add_special_tokens([PAD, EOS, "<image>"])
    pad, end, image = (tokenizer.token_to_id(name) for name in (PAD, EOS, "<image>"))
    text = {
        "model_type": "opt",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "ffn_dim": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 40,
        "pad_token_id": pad,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    sizes = hub_sizes(100)
    sizes["qformer_config"]["use_qformer_text_input"] = False
    hub = randomised(
        Blip2ForConditionalGeneration(HubConfig(**sizes, text_config=text, image_token_index=image)), tmp_path
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    config = TINY.model_copy(update={"checkpoint": tmp_path, "stage": 2})
    tower = Blip2Tower.create(config, CORPUS).eval()

    pixels = tower.inputs(ItemBatch(CORPUS, [picture(colour) for colour in COLOURS])).images
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False).ids[:4] for text in CORPUS])
    with torch.inference_mode():
        prefixed = torch.cat([torch.full((3, 3), image), ids], dim=1)
        expected = hub(pixel_values=normalised(pixels), input_ids=prefixed).logits[:, 3:]
        torch.testing.assert_close(language_logits(tower, ids, pixels), expected, rtol=0, atol=1e-5)
    assert tower.capabilities == {"zero_shot", "caption", "generate"}
    tower.save(tmp_path / "ours")
    loaded = Blip2Tower.load(tmp_path / "ours")
    torch.testing.assert_close(language_logits(loaded, ids, pixels), language_logits(tower, ids, pixels))
