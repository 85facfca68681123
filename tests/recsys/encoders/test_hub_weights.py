from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recsys.encoders.hub_weights import hub_config, hub_weights
from recsys.exceptions import ArtifactError


def test_one_file_or_several_give_the_same_weights_in_float32(tmp_path: Path) -> None:
    weights = {"a": torch.arange(4, dtype=torch.float16), "b": torch.arange(3)}
    (tmp_path / "one").mkdir()
    save_file(weights, tmp_path / "one" / "model.safetensors")
    several = tmp_path / "several"
    several.mkdir()
    save_file({"a": weights["a"]}, several / "model-1.safetensors")
    save_file({"b": weights["b"]}, several / "model-2.safetensors")
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (several / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for path in (tmp_path / "one", several):
        found = hub_weights(path)
        assert found["a"].dtype == torch.float32
        assert found["a"].tolist() == [0, 1, 2, 3]
        assert found["b"].dtype == torch.int64


def test_a_folder_without_them_says_so(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ArtifactError, match="save_pretrained"):
        hub_weights(tmp_path)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        hub_config(tmp_path)
