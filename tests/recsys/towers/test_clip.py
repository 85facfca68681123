from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.models.bert.modeling_bert import BertConfig, BertModel
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPModel
from transformers.models.clip.modeling_clip import CLIPModel
from transformers.models.resnet.modeling_resnet import ResNetConfig, ResNetModel
from transformers.models.siglip.modeling_siglip import SiglipModel
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.base import READ_OUTS, ItemBatch, TowerInputs
from recsys.towers.clip import ClipConfig, ClipTower

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
TEXTS = ["red", "a photo of a dog and a red ball in the sea", "蓝色大海 blue", ""]  # of different lengths
WIDTH = 8
TINY = ClipConfig(
    text=TextConfig(max_tokens=12, vocab_size=100, width=16, layers=1, heads=2),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
    width=WIDTH,
)
FEATURES = TINY.model_copy(update={"image": ImageConfig(kind="features", width=6)})


def picture(colour: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def learn(tower: ClipTower, inputs: TowerInputs) -> set[str]:
    """Names of the parameters that a loss over the three read-outs reaches."""
    tower.train()
    tower.zero_grad()
    out = tower(inputs)
    target = torch.randn(tower.full_width, generator=torch.Generator().manual_seed(0))
    torch.stack([(out[name] @ target).sum() for name in READ_OUTS]).sum().backward()
    return {name for name, p in tower.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.fixture(scope="module")
def tower() -> ClipTower:
    torch.manual_seed(0)
    return ClipTower.create(TINY, CORPUS).eval()


@pytest.fixture
def batch() -> ItemBatch:
    return ItemBatch([CORPUS[0], None, CORPUS[2], None], [picture("red"), picture("blue"), None, None])


def test_rows_are_unit_or_zero_where_nothing_is_there(tower: ClipTower, batch: ItemBatch) -> None:
    lengths = {name: np.linalg.norm(vectors, axis=1) for name, vectors in tower.encode_items(batch).items()}
    np.testing.assert_allclose(lengths["fused"], [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["text"], [1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["image"], [1, 1, 0, 0], atol=1e-5)


def test_an_item_that_lacks_one_side_is_the_other(tower: ClipTower, batch: ItemBatch) -> None:
    out = tower.encode_items(batch)
    np.testing.assert_allclose(out["fused"][1], out["image"][1], atol=1e-6)
    np.testing.assert_allclose(out["fused"][2], out["text"][2], atol=1e-6)
    np.testing.assert_allclose(out["text"][2], tower.encode_text([CORPUS[2]])[0], atol=1e-6)
    np.testing.assert_allclose(out["image"][1], tower.encode_image([picture("blue")])[0], atol=1e-6)


def test_nothing_to_encode_gives_nothing(tower: ClipTower) -> None:
    assert tower.encode_text([]).shape == (0, WIDTH)
    assert tower.encode_image([]).shape == (0, WIDTH)


def test_picture_and_text_each_change_the_item(tower: ClipTower) -> None:
    """Guards against an ignored modality, and against vision weights so small that all pictures look alike."""
    texts, images = [CORPUS[0], CORPUS[0], CORPUS[1]], [picture("red"), picture("blue"), picture("red")]
    fused = tower.encode_items(ItemBatch(texts, images))["fused"]
    assert fused[0] @ fused[1] < 0.999
    assert fused[0] @ fused[2] < 0.999


def test_a_batch_equals_its_items_one_by_one(tower: ClipTower, batch: ItemBatch) -> None:
    together = tower.encode_items(batch)["fused"]
    alone = [
        tower.encode_items(ItemBatch([t], [i]))["fused"][0] for t, i in zip(batch.texts, batch.images, strict=True)
    ]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_permuting_a_batch_permutes_the_vectors(tower: ClipTower, batch: ItemBatch) -> None:
    inputs, order = tower.inputs(batch), torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        for name in READ_OUTS:
            torch.testing.assert_close(tower(inputs[order])[name], tower(inputs)[name][order])


def test_save_and_load_change_nothing(tower: ClipTower, batch: ItemBatch, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = ClipTower.load(tmp_path)
    for name, vectors in tower.encode_items(batch).items():
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors)
    assert loaded.fingerprint == tower.fingerprint
    with torch.no_grad():
        loaded.fusion.gate.bias += 1e-3
    loaded.save(tmp_path / "other")
    assert loaded.fingerprint != tower.fingerprint


def test_a_tower_in_training_has_no_fingerprint() -> None:
    with pytest.raises(ArtifactError, match="Save it first"):
        _ = ClipTower.create(TINY, CORPUS).fingerprint


def test_a_folder_without_a_tower_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        ClipTower.load(tmp_path)


def test_narrow_vectors_are_the_leading_dimensions(batch: ItemBatch, tmp_path: Path) -> None:
    tower = ClipTower.create(TINY.model_copy(update={"widths": (2, 4)}), CORPUS)
    tower.save(tmp_path)
    full, name = tower.encode_items(batch), tower.fingerprint
    narrow = ClipTower.load(tmp_path).narrowed(4)
    assert (narrow.width, narrow.fingerprint) == (4, f"{name}@4")
    for read_out, vectors in narrow.encode_items(batch).items():
        cut = full[read_out][:, :4]
        np.testing.assert_allclose(vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True).clip(1e-9), atol=1e-6)
    np.testing.assert_array_equal(narrow.narrowed(None).encode_text(["red"]), tower.encode_text(["red"]))
    with pytest.raises(ConfigError, match="2, 4, 8"):
        tower.narrowed(3)
    with pytest.raises(ConfigError, match="do not fit into 8"):
        ClipTower.create(TINY.model_copy(update={"widths": (8,)}), CORPUS)


def test_every_parameter_learns(tower: ClipTower, batch: ItemBatch) -> None:
    reached = learn(tower, tower.inputs(batch))
    tower.eval()
    idle = {name for name, _ in tower.named_parameters()} - reached
    assert idle == {"match_scale", "match_bias", "pair_scale"}  # these belong to the loss


def test_items_may_bring_vectors_instead_of_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = ClipTower.create(FEATURES, CORPUS).eval()
    vectors = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    batch = ItemBatch([CORPUS[0], CORPUS[0], CORPUS[1]], [vectors[0], vectors[1], None])
    out = tower.encode_items(batch)
    assert out["image"][0] @ out["image"][1] < 0.999
    assert out["fused"][0] @ out["fused"][1] < 0.999
    np.testing.assert_allclose(out["fused"][2], out["text"][2], atol=1e-6)
    np.testing.assert_allclose(out["image"][:2], tower.encode_image(list(vectors)), atol=1e-6)
    tower.save(tmp_path)
    np.testing.assert_array_equal(ClipTower.load(tmp_path).encode_items(batch)["fused"], out["fused"])
    with pytest.raises(ConfigError, match="not pictures"):
        tower.encode_image([picture("red")])


@pytest.mark.parametrize("frozen", ["text", "image"])
def test_a_frozen_encoder_is_never_trained(batch: ItemBatch, frozen: str) -> None:
    encoder = getattr(TINY, frozen).model_copy(update={"frozen": True})
    tower = ClipTower.create(TINY.model_copy(update={frozen: encoder}), CORPUS)
    reached = learn(tower, tower.inputs(batch))
    assert not getattr(tower, frozen).backbone.training
    idle = {name for name, _ in tower.named_parameters()} - reached - {"match_scale", "match_bias", "pair_scale"}
    assert idle == {name for name, _ in tower.named_parameters() if name.startswith(f"{frozen}.backbone")}


def test_cached_states_stand_for_pixels(batch: ItemBatch) -> None:
    image = TINY.image.model_copy(update={"frozen": True})
    tower = ClipTower.create(TINY.model_copy(update={"image": image}), CORPUS).eval()
    inputs = tower.inputs(batch)
    with torch.inference_mode():
        states = tower.image.states(inputs.images)
        expected = tower(inputs)
        for cached in (states, tower.image.pool(states)):
            out = tower(TowerInputs(inputs.tokens, inputs.has_text, cached, inputs.has_image))
            for name in READ_OUTS:
                torch.testing.assert_close(out[name], expected[name])


# --- checkpoints of the hub ---


def pixels(n: int, side: int = 16) -> Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def scaled(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    return (images / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def logits(tower: ClipTower, texts: list[str], images: Tensor) -> Tensor:
    tokens = torch.from_numpy(tower.text.tokens(texts))
    return tower.match_scale.exp() * tower.read_text(tokens) @ tower.read_image(images).T + tower.match_bias


@torch.inference_mode()
def test_a_clip_checkpoint_gives_what_transformers_gives(clip_folder: Path) -> None:
    model, reader = CLIPModel.from_pretrained(clip_folder), PreTrainedTokenizerFast.from_pretrained(clip_folder)
    tower = ClipTower.create(ClipConfig(checkpoint=clip_folder), []).eval()
    assert tower.width == 12
    colours = scaled(pixels(5), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    read = reader(TEXTS, padding=True, return_tensors="pt")
    out = model(input_ids=read.input_ids, attention_mask=read.attention_mask, pixel_values=colours)
    tokens = torch.from_numpy(tower.text.tokens(TEXTS))
    text = model.get_text_features(**read).pooler_output
    torch.testing.assert_close(tower.text_projection(tower.text(tokens)), text, rtol=0, atol=1e-5)
    image = model.get_image_features(pixel_values=colours).pooler_output
    torch.testing.assert_close(tower.image_projection(tower.image(pixels(5))), image, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(tower, TEXTS, pixels(5)), out.logits_per_text, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_chinese_clip_checkpoint_gives_what_transformers_gives(chinese_clip_folder: Path) -> None:
    model = ChineseCLIPModel.from_pretrained(chinese_clip_folder)
    reader = PreTrainedTokenizerFast.from_pretrained(chinese_clip_folder)
    tower = ClipTower.create(ClipConfig(checkpoint=chinese_clip_folder), []).eval()
    colours = scaled(pixels(5), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    read = reader(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    out = model(**read, pixel_values=colours)
    text = model.get_text_features(**read).pooler_output
    tokens = torch.from_numpy(tower.text.tokens(TEXTS))
    torch.testing.assert_close(tower.text_projection(tower.text(tokens)), text, rtol=0, atol=1e-5)
    image = model.get_image_features(pixel_values=colours).pooler_output
    torch.testing.assert_close(tower.image_projection(tower.image(pixels(5))), image, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(tower, TEXTS, pixels(5)), out.logits_per_text, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_siglip_checkpoint_gives_what_transformers_gives(siglip_folder: Path) -> None:
    """SigLIP pads to its full length and reads the last position; its logits have a bias."""
    model, reader = SiglipModel.from_pretrained(siglip_folder), PreTrainedTokenizerFast.from_pretrained(siglip_folder)
    tower = ClipTower.create(ClipConfig(checkpoint=siglip_folder, text=TextConfig(max_tokens=8)), []).eval()
    assert tower.width == 16
    colours = scaled(pixels(5), [0.5] * 3, [0.5] * 3)
    read = reader(TEXTS, padding="max_length", max_length=20, truncation=True, return_tensors="pt")
    out = model(input_ids=read.input_ids, pixel_values=colours)
    text = model.get_text_features(input_ids=read.input_ids).pooler_output
    tokens = torch.from_numpy(tower.text.tokens(TEXTS))
    torch.testing.assert_close(tower.text_projection(tower.text(tokens)), text, rtol=0, atol=1e-5)
    torch.testing.assert_close(tower.text(tokens[:, :16]), tower.text(tokens))  # cut as a batch of short texts may be
    image = model.get_image_features(pixel_values=colours).pooler_output
    torch.testing.assert_close(tower.image_projection(tower.image(pixels(5))), image, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(tower, TEXTS, pixels(5)), out.logits_per_text, rtol=0, atol=1e-5)
    assert tower.match_bias.item() == -9.0


@pytest.mark.parametrize("kind", ["clip", "chinese_clip", "siglip"])
def test_a_tower_from_a_checkpoint_learns_and_is_saved(
    kind: str, request: pytest.FixtureRequest, batch: ItemBatch, tmp_path: Path
) -> None:
    tower = ClipTower.create(ClipConfig(checkpoint=request.getfixturevalue(f"{kind}_folder"), widths=(4,)), [])
    reached = learn(tower, tower.inputs(batch))
    idle = {name for name, _ in tower.named_parameters()} - reached - {"match_scale", "match_bias", "pair_scale"}
    # A bias that all keys share changes no softmax; its gradient is zero but for rounding.
    assert all(name.endswith(("k_proj.bias", "key.bias")) for name in idle)
    tower.save(tmp_path)
    loaded, vectors = ClipTower.load(tmp_path), tower.encode_items(batch)
    for name in READ_OUTS:
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors[name])
    assert (loaded.text.pad_id, loaded.text.max_tokens, loaded.image.crop) == (
        tower.text.pad_id,
        tower.text.max_tokens,
        tower.image.crop,
    )


def test_a_checkpoint_of_another_kind_is_refused_with_what_is_possible(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    for config in (
        ClipConfig(checkpoint=tmp_path),
        ClipConfig(text=TextConfig(checkpoint=tmp_path)),
        ClipConfig(image=ImageConfig(checkpoint=tmp_path)),
    ):
        with pytest.raises(ConfigError, match=r"'gpt2'.* clip, chinese_clip"):
            ClipTower.create(config, CORPUS)


@torch.inference_mode()
def test_resnet_and_bert_are_the_formula_written_out(tmp_path: Path) -> None:
    """No twin in ``transformers``: mean over tokens, mean over places, projection, unit length, scaled product."""
    torch.manual_seed(1)
    tokenizer = train_tokenizer(CORPUS, 100)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=20, **sizes)).eval()
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save(str(tmp_path / "bert" / "tokenizer.json"))
    resnet = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8, 8, 16], depths=[1] * 4)).eval()
    resnet.save_pretrained(tmp_path / "resnet")
    statistics = {"size": 32, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "resnet" / "preprocessor_config.json").write_text(json.dumps(statistics))
    text, image = TextConfig(checkpoint=tmp_path / "bert"), ImageConfig(checkpoint=tmp_path / "resnet")
    tower = ClipTower.create(ClipConfig(text=text, image=image, width=WIDTH), []).eval()

    places = resnet(scaled(pixels(3, 32), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])).last_hidden_state.mean(dim=(2, 3))
    images = F.normalize(places @ tower.image_projection.weight.T, dim=1)
    words = [bert(torch.tensor([tokenizer.encode(text).ids[:20]])).last_hidden_state[0].mean(dim=0) for text in CORPUS]
    texts = F.normalize(torch.stack(words) @ tower.text_projection.weight.T, dim=1)
    expected = texts @ images.T / 0.07
    torch.testing.assert_close(logits(tower, CORPUS, pixels(3, 32)), expected, rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["clip", "chinese_clip"])
def test_an_exported_tower_is_a_checkpoint_of_the_hub(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tower = ClipTower.create(ClipConfig(checkpoint=request.getfixturevalue(f"{kind}_folder")), []).eval()
    tower.text_projection.weight += 0.1  # no longer what was loaded
    tower.match_scale += 0.5
    tower.export(tmp_path)
    model = {"clip": CLIPModel, "chinese_clip": ChineseCLIPModel}[kind].from_pretrained(tmp_path)
    read = PreTrainedTokenizerFast.from_pretrained(tmp_path)(TEXTS, padding=True, return_tensors="pt")
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    out = model(
        input_ids=read.input_ids,
        attention_mask=read.attention_mask,
        pixel_values=scaled(pixels(5), settings["image_mean"], settings["image_std"]),
    )
    torch.testing.assert_close(logits(tower, TEXTS, pixels(5)), out.logits_per_text, rtol=0, atol=1e-5)
    again = ClipTower.create(ClipConfig(checkpoint=tmp_path), []).eval()
    torch.testing.assert_close(logits(again, TEXTS, pixels(5)), logits(tower, TEXTS, pixels(5)))
    assert again.image.crop == tower.image.crop


def test_a_tower_that_has_no_form_in_the_hub_says_so(tower: ClipTower, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vit and bert"):
        tower.export(tmp_path)
