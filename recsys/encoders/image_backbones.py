"""Image backbones: how each architecture of ``transformers`` is made, and how its states are read and pooled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.blip_2.configuration_blip_2 import Blip2VisionConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel
from transformers.models.chinese_clip.configuration_chinese_clip import ChineseCLIPVisionConfig
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPVisionModel
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionModel
from transformers.models.mobilenet_v1.configuration_mobilenet_v1 import MobileNetV1Config
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import MobileNetV1Model
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel
from transformers.models.siglip.configuration_siglip import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipVisionModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.encoders.blip2_checkpoint import load_blip2_vision
from recsys.encoders.blip_checkpoint import load_blip_vision
from recsys.encoders.checkpoints import load_model
from recsys.encoders.clip_layers import image_state


@dataclass(frozen=True)
class ImageBackbone:
    """One architecture.

    Attributes:
        config: its configuration class.
        make: fresh weights from a configuration.
        load: weights of a checkpoint folder in the hub's format.
        width: of the states.
        states: pixels, float ``[n, 3, size, size]``, and the number of a layer (-1 is the last) -> ``[n, t, width]``.
        pool: the model and states -> ``[n, width]``.
        first_patch: how many leading states are no patches (a CLS token).
        pooled: the model and pixels -> ``[n, width]``: pooled last states, where that is less work than all of them.
    """

    config: Callable[..., Any]
    make: Callable[[Any], nn.Module]
    load: Callable[[Any], nn.Module]
    width: Callable[[Any], int]
    states: Callable[[Any, Tensor, int], Tensor]
    pool: Callable[[Any, Tensor], Tensor]
    first_patch: int = 0
    pooled: Callable[[Any, Tensor], Tensor] | None = None


def transformer_states(model: Any, pixels: Tensor, layer: int) -> Tensor:
    """Hidden states of a layer of a vision transformer."""
    out = model(pixel_values=pixels, output_hidden_states=layer != -1)
    return out.last_hidden_state if layer == -1 else out.hidden_states[layer]  # type: ignore[no-any-return]


def _map_states(model: Any, pixels: Tensor, layer: int) -> Tensor:
    """Places of a convolutional network's feature map."""
    out = model(pixel_values=pixels.contiguous(memory_format=torch.channels_last), output_hidden_states=layer != -1)
    feature_map = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
    return feature_map.flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


def _siglip_pool(model: Any, states: Tensor) -> Tensor:
    return model.head(states) if model.use_head else states.mean(dim=1)


_BLIP = ImageBackbone(  # its image encoder is a ViT that answers by its CLS state
    config=ViTConfig,
    make=lambda config: ViTModel(config, add_pooling_layer=False),
    load=load_blip_vision,
    width=lambda config: int(config.hidden_size),
    states=transformer_states,
    pool=lambda model, states: states[:, 0],
    first_patch=1,
)


_BLIP2 = ImageBackbone(
    config=Blip2VisionConfig,
    make=Blip2VisionModel,
    load=load_blip2_vision,
    width=lambda config: int(config.hidden_size),
    states=transformer_states,
    pool=lambda model, states: states[:, 0],
    first_patch=1,
)

BACKBONES: Mapping[str, ImageBackbone] = {  # by ``model_type`` of the hub's config.json
    "vit": ImageBackbone(
        config=ViTConfig,
        make=lambda config: ViTModel(config, add_pooling_layer=False),
        load=lambda path: load_model(ViTModel, path, add_pooling_layer=False),
        width=lambda config: int(config.hidden_size),
        states=transformer_states,
        pool=lambda model, states: states[:, 1:].mean(dim=1),
        first_patch=1,
    ),
    "resnet": ImageBackbone(
        config=ResNetConfig,
        make=ResNetModel,
        load=lambda path: load_model(ResNetModel, path),
        width=lambda config: int(config.hidden_sizes[-1]),
        states=_map_states,
        pool=lambda model, states: states.mean(dim=1),
    ),
    "mobilenet_v1": ImageBackbone(
        config=MobileNetV1Config,
        make=lambda config: MobileNetV1Model(config, add_pooling_layer=False),
        load=lambda path: load_model(MobileNetV1Model, path, add_pooling_layer=False),
        width=lambda config: max(int(1024 * config.depth_multiplier), config.min_depth),
        states=_map_states,
        pool=lambda model, states: states.mean(dim=1),
    ),
    "clip_vision_model": ImageBackbone(
        config=CLIPVisionConfig,
        make=CLIPVisionModel,
        load=lambda path: load_model(CLIPVisionModel, path),
        width=lambda config: int(config.hidden_size),
        states=transformer_states,
        pool=lambda model, states: model.post_layernorm(states[:, 0]),
        first_patch=1,
        pooled=image_state,
    ),
    "chinese_clip_vision_model": ImageBackbone(
        config=ChineseCLIPVisionConfig,
        make=ChineseCLIPVisionModel,
        load=lambda path: load_model(ChineseCLIPVisionModel, path),
        width=lambda config: int(config.hidden_size),
        states=transformer_states,
        pool=lambda model, states: model.post_layernorm(states[:, 0]),
        first_patch=1,
        pooled=image_state,
    ),
    "siglip_vision_model": ImageBackbone(
        config=SiglipVisionConfig,
        make=SiglipVisionModel,
        load=lambda path: load_model(SiglipVisionModel, path),
        width=lambda config: int(config.hidden_size),
        states=transformer_states,
        pool=_siglip_pool,
    ),
    "blip": _BLIP,
    "blip_vision_model": _BLIP,
    "blip-2": _BLIP2,
    "blip_2_vision_model": _BLIP2,
}
