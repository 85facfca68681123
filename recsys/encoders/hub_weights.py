"""What a checkpoint folder of the hub holds: its config, and its raw tensors for models whose parts we write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from recsys.exceptions import ArtifactError

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


def hub_config(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        ArtifactError: the folder holds no checkpoint.
    """
    file = path / "config.json"
    if not file.exists():
        raise ArtifactError(f"{path} holds no checkpoint (no config.json).", "Name a folder in the hub's format.")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def hub_weights(path: Path) -> dict[str, Tensor]:
    """All tensors in float32 by their names in the checkpoint, from one file or the several that its index names.

    Raises:
        ArtifactError: there are no safetensors.
    """
    if (path / SINGLE_FILE).exists():
        files = [SINGLE_FILE]
    elif (path / INDEX_FILE).exists():
        files = sorted(set(json.loads((path / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        raise ArtifactError(
            f"{path} holds no safetensors.", "Open it with transformers and write it again with `save_pretrained`."
        )
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for file in files
        for name, tensor in load_file(path / file).items()
    }
