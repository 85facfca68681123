from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers.models.blip_2.configuration_blip_2 import Blip2Config
from transformers.models.blip_2.modeling_blip_2 import Blip2ForImageTextRetrieval

from recsys.encoders.blip2_checkpoint import load_blip2, load_blip2_vision
from recsys.exceptions import ArtifactError, ConfigError

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "num_hidden_layers": 1}


def test_the_image_model_is_found_whole_or_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vision = {**SIZES, "image_size": 16, "patch_size": 8, "initializer_range": 0.02}
    config = Blip2Config(vision_config=vision, qformer_config={**SIZES, "use_qformer_text_input": True})
    model = Blip2ForImageTextRetrieval(config).eval()
    model.save_pretrained(tmp_path / "whole")
    model.vision_model.save_pretrained(tmp_path / "alone")
    pixels = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        expected = model.vision_model(pixels).last_hidden_state
        assert (expected[0] - expected[1]).abs().max() > 0.01  # at transformers' own initial spread they would be alike
        for folder in ("whole", "alone"):
            torch.testing.assert_close(load_blip2_vision(tmp_path / folder)(pixels).last_hidden_state, expected)


def test_a_folder_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        load_blip2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "blip-2", "architectures": ["Blip2Model"]}')
    with pytest.raises(ConfigError, match="Blip2Model"):
        load_blip2(tmp_path)
