from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.bert.modeling_bert import BertConfig, BertModel
from transformers.models.vit.modeling_vit import ViTConfig, ViTModel

from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ArtifactError
from recsys.towers.base import ItemBatch
from recsys.towers.clip import ClipConfig, ClipTower

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
TINY = ClipConfig(
    text=TextConfig(max_tokens=12, vocab_size=100, width=16, layers=1, heads=2),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
    width=8,
)


def picture(colour: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


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
    assert tower.encode_text([]).shape == (0, 8)
    assert tower.encode_image([]).shape == (0, 8)


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


def test_save_and_load_change_nothing(tower: ClipTower, batch: ItemBatch, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = ClipTower.load(tmp_path)
    for name, vectors in tower.encode_items(batch).items():
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors)
    assert loaded.fingerprint == tower.fingerprint
    with torch.no_grad():
        loaded.gate.bias += 1e-3
    loaded.save(tmp_path / "other")
    assert loaded.fingerprint != tower.fingerprint


def test_a_tower_in_training_has_no_fingerprint() -> None:
    with pytest.raises(ArtifactError, match="Save it first"):
        _ = ClipTower.create(TINY, CORPUS).fingerprint


def test_a_folder_without_a_tower_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        ClipTower.load(tmp_path)


def test_every_parameter_learns(tower: ClipTower, batch: ItemBatch) -> None:
    tower.train()
    tokens = torch.from_numpy(tower.text.tokens([text or "" for text in batch.texts]))
    has_text = torch.tensor([text is not None for text in batch.texts])
    has_image = torch.tensor([image is not None for image in batch.images])
    out = tower(tokens, has_text, torch.from_numpy(tower.image.prepare(batch.images)), has_image)
    target = torch.randn(8, generator=torch.Generator().manual_seed(0))
    sum((out[name] @ target).sum() for name in out).backward()
    idle = {name for name, p in tower.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    tower.zero_grad()
    tower.eval()
    assert idle == {"match_scale", "pair_scale"}  # these belong to the loss


def test_backbones_come_from_checkpoints_in_the_hub_format(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = train_tokenizer(CORPUS, 100)
    bert = BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=20, **sizes)).eval()
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save(str(tmp_path / "bert" / "tokenizer.json"))
    vit = ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes)).eval()
    vit.save_pretrained(tmp_path / "vit")
    statistics = '{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}'
    (tmp_path / "vit" / "preprocessor_config.json").write_text(statistics)

    config = ClipConfig(
        text=TextConfig(checkpoint=tmp_path / "bert", max_tokens=12), image=ImageConfig(checkpoint=tmp_path / "vit")
    )
    tower = ClipTower.create(config, []).eval()

    pixels = torch.from_numpy(tower.image.prepare([picture("red")]))
    scaled = (pixels / 255 - torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).reshape(
        3, 1, 1
    )
    with torch.inference_mode():
        expected = vit(pixel_values=scaled).last_hidden_state[:, 1:].mean(dim=1)
        torch.testing.assert_close(tower.image(pixels), expected)
        alone = torch.tensor([tokenizer.encode("red 苹果").ids])
        expected = bert(input_ids=alone).last_hidden_state.mean(dim=1)
        padded = torch.from_numpy(tower.text.tokens(["red 苹果", CORPUS[0]]))
        torch.testing.assert_close(tower.text(padded)[:1], expected)
