"""Write an 8-bit MobileNetV1 of TensorFlow Lite as a float checkpoint in the hub's format, for `--image-model`.

    pip install ai-edge-litert
    python benchmarks/mobilenet_checkpoint.py MODEL.tflite FOLDER --pixels 160

The file's convolutions carry their folded normalisation, so that of the checkpoint is set to change nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from transformers.models.mobilenet_v1.configuration_mobilenet_v1 import MobileNetV1Config
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import MobileNetV1Model

LAYER = re.compile(r"Conv2d_(\d+)(?:_(depthwise|pointwise))?/")
COLOURS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # as the file scales its input


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    """Weights and biases of all convolutions by the names of ``MobileNetV1Model``, float32."""
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    found: dict[str, torch.Tensor] = {}
    for tensor in interpreter.get_tensor_details():
        name, shape = tensor["name"], tensor["shape"]
        is_bias = name.endswith("BatchNorm_Fold/bias") and len(shape) == 1
        is_weight = "weights_quant" in name and len(shape) == 4
        place = LAYER.search(name)
        if place is None or not (is_bias or is_weight):
            continue
        number, kind = int(place[1]), place[2]
        layer = "conv_stem" if number == 0 else f"layer.{2 * (number - 1) + (kind == 'pointwise')}"
        values = _floats(interpreter, tensor)
        if is_bias:
            found[f"{layer}.normalization.bias"] = values
        else:
            axes = (3, 0, 1, 2) if kind == "depthwise" else (0, 3, 1, 2)
            found[f"{layer}.convolution.weight"] = values.permute(*axes).contiguous()
    return found


def _floats(interpreter: Any, tensor: dict[str, Any]) -> torch.Tensor:
    scale, zero = tensor["quantization"]
    return torch.from_numpy(scale * (interpreter.get_tensor(tensor["index"]).astype(np.float32) - zero))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pixels", type=int, default=224, help="side of the pictures it is to read")
    arguments = parser.parse_args()
    model = MobileNetV1Model(MobileNetV1Config(image_size=arguments.pixels), add_pooling_layer=False)
    weights = weights_of(arguments.model)
    epsilon = model.config.layer_norm_eps
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            weights[name] = torch.full_like(tensor, 1 - epsilon)
        elif name not in weights:
            assert not name.endswith(("convolution.weight", "normalization.bias")), f"{name} is not in the file"
            weights[name] = tensor
    model.load_state_dict(weights)
    model.save_pretrained(arguments.folder)
    preprocessor = {
        "image_processor_type": "MobileNetV1ImageProcessor",
        "size": {"shortest_edge": round(arguments.pixels * 256 / 224)},
        "crop_size": {"height": arguments.pixels, "width": arguments.pixels},
        "do_center_crop": True,
        **COLOURS,
    }
    (arguments.folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2))


if __name__ == "__main__":
    main()
