from __future__ import annotations

import pytest
import torch
from training_setup import MODEL, fresh_tower

from recsys.data.dataset import Dataset
from recsys.encoders.causal_lm import LanguageModelConfig
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.towers.llava import LlavaConfig, LlavaTower
from recsys.training.optimizer import OptimizerConfig, make_optimizer, scheduled


def rates(world: Dataset, config: OptimizerConfig) -> dict[str, tuple[float, float]]:
    text = TextConfig(max_tokens=16, vocab_size=500, width=32, layers=3, heads=2)
    tower = fresh_tower(world, MODEL.model_copy(update={"text": text}))
    optimizer = make_optimizer(tower, config)
    of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    return {name: of[id(parameter)] for name, parameter in tower.named_parameters()}


def test_deeper_layers_learn_slower_and_embeddings_slowest(world: Dataset) -> None:
    found = rates(world, OptimizerConfig(learning_rate=1.0, layer_decay=0.5, backbone_rate=0.1))
    layer = "text.backbone.encoder.layer.{}.attention.self.query.weight"
    assert [found[layer.format(n)][0] for n in range(3)] == pytest.approx([0.025, 0.05, 0.1])
    assert found["text.backbone.embeddings.word_embeddings.weight"][0] == pytest.approx(0.0125)
    assert found["text_projection.weight"][0] == 1.0


def test_a_language_model_is_a_backbone_too() -> None:
    llm = LanguageModelConfig(max_tokens=8, vocab_size=100, width=16, layers=2, heads=2)
    image = ImageConfig(kind="features", width=4)
    tower = LlavaTower.create(LlavaConfig(llm=llm, image=image, width=8), ["a red apple", "the sea"] * 2)
    config = OptimizerConfig(learning_rate=1.0, layer_decay=0.5, backbone_rate=0.1)
    of = {id(p): group["lr"] for group in make_optimizer(tower, config).param_groups for p in group["params"]}
    found = {name: of[id(parameter)] for name, parameter in tower.named_parameters() if id(parameter) in of}
    assert found["text.model.model.layers.0.self_attn.q_proj.weight"] == pytest.approx(0.05)
    assert found["text.model.model.layers.1.self_attn.q_proj.weight"] == pytest.approx(0.1)
    assert found["text.model.model.embed_tokens.weight"] == pytest.approx(0.025)
    assert {rate for name, rate in found.items() if name.startswith("projector")} == {1.0}


def test_matrices_are_decayed_vectors_and_temperatures_are_not(world: Dataset) -> None:
    found = rates(world, OptimizerConfig(weight_decay=0.3))
    assert found["text_projection.weight"][1] == 0.3
    assert {found[name][1] for name in ("match_scale", "pair_scale", "fusion.gate.bias")} == {0.0}


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = OptimizerConfig(warmup_steps=10)
    assert [scheduled(step, 110, config) for step in (0, 9, 10, 60, 110)] == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_a_frozen_part_has_no_rate(world: Dataset) -> None:
    tower = fresh_tower(world)
    tower.text.backbone.requires_grad_(False)
    optimizer = make_optimizer(tower, OptimizerConfig())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in tower.parameters() if p.requires_grad}
    assert isinstance(optimizer, torch.optim.AdamW)
