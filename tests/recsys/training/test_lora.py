from __future__ import annotations

import pytest
import torch
from training_setup import fresh_tower

from recsys.data.dataset import Dataset
from recsys.exceptions import ConfigError
from recsys.training.lora import LoraConfig, add_lora, merge_lora

CONFIG = LoraConfig(parts=("text.backbone",), layers=("query", "value"), rank=2)


def test_only_the_small_matrices_of_the_part_learn(world: Dataset) -> None:
    tower = fresh_tower(world)
    others = {name for name, _ in tower.named_parameters() if not name.startswith("text.backbone.")}
    add_lora(tower, CONFIG)
    trained = {name for name, p in tower.named_parameters() if p.requires_grad}
    assert others <= trained
    assert len(trained - others) == 2 * 2  # A and B of query and of value, one layer
    assert all("lora_" in name for name in trained - others)


def test_merging_keeps_the_vectors_and_leaves_an_ordinary_tower(world: Dataset) -> None:
    tower = fresh_tower(world).eval()
    names, before = set(tower.state_dict()), tower.encode_text(["咖啡"])
    add_lora(tower, CONFIG)
    torch.testing.assert_close(tower.encode_text(["咖啡"]), before)  # B starts at zero
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    changed = tower.encode_text(["咖啡"])
    assert abs(changed - before).max() > 1e-3
    merge_lora(tower)
    assert set(tower.state_dict()) == names
    torch.testing.assert_close(tower.encode_text(["咖啡"]), changed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("change", "said"), [({"parts": ("tail",)}, "'tail'"), ({"layers": ("nope",)}, "nope")])
def test_what_is_not_there_is_named(world: Dataset, change: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        add_lora(fresh_tower(world), CONFIG.model_copy(update=change))
