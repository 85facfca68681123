"""Folders in the hub's format: which model they hold, and its weights, all of them or an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from recsys.exceptions import ArtifactError

CONFIG_FILE = "config.json"


def model_type(path: Path) -> str:
    """What a folder says its model is, such as ``clip`` or ``bert``.

    Raises:
        ArtifactError: it holds no model.
    """
    return str(read_json(path / CONFIG_FILE, required=True).get("model_type"))


def read_json(file: Path, required: bool = False) -> dict[str, Any]:
    """A settings file of a checkpoint; empty where there is none.

    Raises:
        ArtifactError: it is required and missing.
    """
    if file.exists():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    if required:
        raise ArtifactError(f"{file.parent} holds no {file.name}.", "Name a folder in the hub's format.")
    return {}


def load_model(kind: Any, path: Path, **arguments: Any) -> Any:
    """Weights of a checkpoint in float32. ``transformers`` fills what is missing with random numbers; this refuses.

    Args:
        kind: a model class of ``transformers``.
        path: the folder.
        arguments: further arguments of its constructor.

    Raises:
        ArtifactError: there are no safetensors, or they lack a tensor of the model.
    """
    if not any(path.glob("*.safetensors")):
        raise ArtifactError(
            f"{path} holds no safetensors.", "Open it with transformers and write it again with `save_pretrained`."
        )
    model, report = kind.from_pretrained(
        path, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **arguments
    )
    if missing := sorted(report["missing_keys"]):
        raise ArtifactError(
            f"{path} lacks {len(missing)} tensors of a {kind.__name__}, such as {missing[0]}.",
            "Name a whole checkpoint of that kind.",
        )
    return model
