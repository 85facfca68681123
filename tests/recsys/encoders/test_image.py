from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.mobilenet_v1.configuration_mobilenet_v1 import MobileNetV1Config
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import MobileNetV1Model
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.encoders.image import FeatureEncoder, ImageConfig, ImageEncoder
from recsys.exceptions import ArtifactError, ConfigError

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
STATISTICS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def photo(width: int, height: int) -> tuple[Image.Image, bytes]:
    """Smooth colours, so that two ways to scale agree."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 3, height))
    colours = np.stack([np.sin(x) * 127 + 128, np.cos(y) * 127 + 128, np.sin(x + y) * 127 + 128], axis=-1)
    image, stream = Image.fromarray(colours.astype(np.uint8)), io.BytesIO()
    image.save(stream, "PNG")
    return image, stream.getvalue()


def pixels(n: int, side: int = 16) -> torch.Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def scaled(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(STATISTICS[name]).reshape(3, 1, 1) for name in ("image_mean", "image_std"))
    return (images / 255 - mean) / std


@torch.inference_mode()
def test_vit_is_the_mean_over_its_patches(tmp_path: Path) -> None:
    torch.manual_seed(1)
    vit = ViTModel(ViTConfig(image_size=16, patch_size=8, **SIZES)).eval()
    vit.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    encoder = ImageEncoder.create(ImageConfig(checkpoint=tmp_path)).eval()
    hidden = vit(pixel_values=scaled(pixels(3))).last_hidden_state
    torch.testing.assert_close(encoder(pixels(3)), hidden[:, 1:].mean(dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.states(pixels(3)), hidden, rtol=0, atol=1e-5)
    assert encoder.first_patch == 1


@torch.inference_mode()
def test_resnet_is_the_mean_over_its_places(tmp_path: Path) -> None:
    torch.manual_seed(1)
    resnet = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8, 8, 16], depths=[1] * 4)).eval()
    resnet.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 64, **STATISTICS}))
    encoder = ImageEncoder.create(ImageConfig(checkpoint=tmp_path)).eval()
    places = resnet(pixel_values=scaled(pixels(3, 64))).last_hidden_state
    assert (encoder.pixels, encoder.first_patch) == (64, 0)
    assert encoder.states(pixels(3, 64)).shape == (3, 4, 16)
    torch.testing.assert_close(encoder(pixels(3, 64)), places.mean(dim=(2, 3)), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_mobilenet_is_the_mean_over_its_places(tmp_path: Path) -> None:
    torch.manual_seed(1)
    mobilenet = MobileNetV1Model(MobileNetV1Config(image_size=64, depth_multiplier=1 / 64)).eval()
    mobilenet.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    encoder = ImageEncoder.create(ImageConfig(checkpoint=tmp_path)).eval()
    out = mobilenet(pixel_values=scaled(pixels(3, 64)))
    assert (encoder.pixels, encoder.width, encoder.first_patch) == (64, 16, 0)
    assert encoder.states(pixels(3, 64)).shape == (3, 4, 16)
    torch.testing.assert_close(encoder(pixels(3, 64)), out.pooler_output, rtol=0, atol=1e-5)
    again = ImageEncoder.restore(json.loads(json.dumps(encoder.describe()))).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(pixels(3, 64)), encoder(pixels(3, 64)))


@pytest.mark.parametrize("kind", ["clip", "chinese_clip", "siglip"])
@torch.inference_mode()
def test_a_dual_encoder_gives_its_image_side_alone(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    whole = ImageEncoder.create(ImageConfig(checkpoint=folder)).eval()
    assert whole.kind == f"{kind}_vision_model"
    cast(Any, whole.backbone).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text((folder / "preprocessor_config.json").read_text())
    alone = ImageEncoder.create(ImageConfig(checkpoint=tmp_path)).eval()
    torch.testing.assert_close(alone(pixels(3)), whole(pixels(3)))
    again = ImageEncoder.restore(json.loads(json.dumps(whole.describe()))).eval()
    again.load_state_dict(whole.state_dict())
    torch.testing.assert_close(again(pixels(3)), whole(pixels(3)))
    assert again.describe() == whole.describe()


@torch.inference_mode()
def test_an_earlier_layer_can_be_read(clip_folder: Path) -> None:
    encoder = ImageEncoder.create(ImageConfig(checkpoint=clip_folder, layer=-2)).eval()
    out = cast(Any, encoder.backbone)(pixel_values=scaled(pixels(3)), output_hidden_states=True)
    torch.testing.assert_close(encoder.states(pixels(3)), out.hidden_states[-2])
    assert not torch.allclose(out.hidden_states[-2], out.last_hidden_state)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (24, 41), (30, 30), (24, 480)])
@pytest.mark.parametrize("size", [16, 20], ids=["whole shorter side", "a share of it"])
def test_pictures_are_cropped_as_clip_was_trained(clip_folder: Path, width: int, height: int, size: int) -> None:
    settings = json.loads((clip_folder / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": size}
    encoder = ImageEncoder.from_checkpoint(clip_folder)
    encoder.crop = 16 / size
    image, encoded = photo(width, height)
    expected = CLIPImageProcessorPil(**settings, do_normalize=False, do_rescale=False)(image)["pixel_values"][0]
    ours = encoder.prepare([encoded])[0].astype(int)
    np.testing.assert_allclose(ours, np.asarray(expected, int), atol=2)


def test_pictures_are_squeezed_as_siglip_was_trained(siglip_folder: Path) -> None:
    settings = json.loads((siglip_folder / "preprocessor_config.json").read_text())
    image, encoded = photo(40, 24)
    expected = SiglipImageProcessorPil(**settings, do_normalize=False, do_rescale=False)(image)["pixel_values"][0]
    ours = ImageEncoder.from_checkpoint(siglip_folder).prepare([encoded])[0]
    np.testing.assert_allclose(ours.astype(int), np.asarray(expected, int), atol=1)


@pytest.mark.parametrize(
    ("settings", "pixels", "crop"),
    [
        ({"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}, "do_center_crop": True}, 56, 0.875),
        ({"size": 64, "crop_size": 56, "do_center_crop": False}, 64, None),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 224, 0.875),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, 384, None),
        ({"size": {"height": 32, "width": 32}}, 32, None),
        ({}, 224, None),
    ],
)
def test_a_checkpoint_brings_its_preprocessing(
    tmp_path: Path, settings: dict[str, Any], pixels: int, crop: float | None
) -> None:
    ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = ImageEncoder.from_checkpoint(tmp_path)
    assert (encoder.pixels, encoder.crop) == (pixels, crop)


def test_a_thin_strip_costs_no_more_memory_than_its_own(clip_folder: Path) -> None:
    """Scaling it before the crop would make a picture of 16 x 800,000 pixels."""
    _, encoded = photo(2, 100_000)
    assert ImageEncoder.from_checkpoint(clip_folder).prepare([encoded]).shape == (1, 3, 16, 16)


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no config\.json"):
        ImageEncoder.from_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ArtifactError, match="no safetensors"):
        ImageEncoder.from_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin"}))
    with pytest.raises(ConfigError, match=r"'swin'.*vit, resnet, mobilenet_v1, clip_vision_model"):
        ImageEncoder.from_checkpoint(tmp_path)


def test_vectors_of_items_count_by_their_direction() -> None:
    encoder = ImageEncoder.create(ImageConfig(kind="features", width=4)).eval()
    vectors = torch.tensor([[3.0, 0, 4, 0], [0.03, 0, 0.04, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(encoder(vectors), torch.tensor([[1.2, 0, 1.6, 0], [1.2, 0, 1.6, 0], [0, 0, 0, 0]]))
    assert encoder.states(vectors).shape == (3, 1, 4)
    assert not list(encoder.parameters())


def test_a_hidden_layer_stands_beside_the_vectors() -> None:
    torch.manual_seed(0)
    encoder = FeatureEncoder(4, hidden=3).eval()
    vectors = torch.randn(5, 4)
    vectors *= 2 / vectors.norm(dim=1, keepdim=True)  # the length they are brought to: the root of their width
    learned = torch.nn.functional.gelu(
        vectors @ encoder.get_parameter("hidden.weight").T + encoder.get_parameter("hidden.bias")
    )
    torch.testing.assert_close(encoder(vectors), torch.cat([vectors, learned], dim=1))
    assert encoder.width == 7
    encoder.train()(vectors).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())
    again = ImageEncoder.restore(json.loads(json.dumps(encoder.describe()))).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(vectors), encoder.eval()(vectors))


def test_vectors_are_thinned_out_in_training_only() -> None:
    encoder, ones = FeatureEncoder(1000, dropout=0.3), torch.ones(20, 1000)
    torch.manual_seed(0)
    kept = (encoder.train()(ones) != 0).float().mean().item()
    assert kept == pytest.approx(0.7, abs=0.01)
    torch.testing.assert_close(encoder.eval()(ones), ones)


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="vector of 3 numbers"):
        FeatureEncoder(4).prepare([np.ones(3, np.float32)])
