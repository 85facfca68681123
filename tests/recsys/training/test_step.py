from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from training_setup import MODEL, fresh_tower, prepared

from recsys.data.dataset import Dataset
from recsys.data.pairs import ItemPairs
from recsys.encoders.image import ImageConfig
from recsys.towers.base import TrainingBatch
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.training.contrast import ContrastConfig
from recsys.training.optimizer import OptimizerConfig, make_optimizer
from recsys.training.prepared import PreparedItems
from recsys.training.sampler import BatchSampler
from recsys.training.step import TrainingStep

Make = Callable[..., tuple[ClipTower, TrainingStep]]


@pytest.fixture(scope="module")
def items(world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> PreparedItems:
    return prepared(world, fresh_tower(world), tmp_path_factory.mktemp("items"))


@pytest.fixture
def make(world: Dataset) -> Make:
    def make(
        micro_batch: int | None = None, model: ClipConfig = MODEL, contrast: ContrastConfig | None = None
    ) -> tuple[ClipTower, TrainingStep]:
        tower = fresh_tower(world, model)
        rates = OptimizerConfig(warmup_steps=0)
        optimizer = make_optimizer(tower, rates)
        contrast = contrast or ContrastConfig()
        return tower, TrainingStep(tower, optimizer, contrast, rates, micro_batch, torch.float32, None)

    return make


def batch_of(
    items: PreparedItems, sampler: BatchSampler
) -> tuple[TrainingBatch, torch.Tensor, torch.Tensor, None, dict]:
    rows = sampler.draw(0)
    batch, same = items.batch(rows, slice(None), seed=0, step=0, steps=10, caption_share=0.0, crop=0.1)
    return batch, same, sampler.affinity(rows), None, {}


@pytest.fixture
def sampler(items: PreparedItems, pairs: ItemPairs) -> BatchSampler:
    return BatchSampler(np.arange(len(items), dtype=np.int32), pairs, 0, 16, 6, 3)


@pytest.mark.parametrize("loss", ["info_nce", "sigmoid"])
def test_two_passes_give_the_gradients_of_one_large_batch(
    make: Make, items: PreparedItems, sampler: BatchSampler, loss: str
) -> None:
    """For the towers and for the temperatures, whose gradient must not be counted once per part."""
    contrast = ContrastConfig(loss=loss)
    gradients = {}
    for micro_batch in (None, 7):
        tower, step = make(micro_batch, contrast=contrast)
        torch.manual_seed(3)
        tower.text.backbone.config.hidden_dropout_prob = 0.0
        for module in tower.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        losses = step(*batch_of(items, sampler))
        gradients[micro_batch] = {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}
        gradients[micro_batch]["loss"] = torch.tensor(losses["loss"])
    assert gradients[None].keys() == gradients[7].keys()
    assert gradients[None]["match_scale"].abs() > 1e-4
    for name, gradient in gradients[None].items():
        torch.testing.assert_close(gradients[7][name], gradient, rtol=1e-3, atol=2e-6, msg=name)


def test_parts_replay_the_dropout_of_the_first_pass(make: Make, items: PreparedItems, sampler: BatchSampler) -> None:
    tower, step = make(7)
    seen: list[torch.Tensor] = []
    tower.text_projection.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
    step(*batch_of(items, sampler))
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) == 2 * 6  # items and captions of six parts of at most seven rows
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)
    tower.eval()
    still = tower.text_projection(tower.text(batch_of(items, sampler)[0].inputs.tokens[:7]))
    assert not torch.allclose(still, first[0])  # there is dropout to replay


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(
    make: Make, items: PreparedItems, sampler: BatchSampler
) -> None:
    tower, step = make()
    batch, *rest = batch_of(items, sampler)
    poisoned = TrainingBatch(**{**vars(batch), "inputs": type(batch.inputs)(**{**vars(batch.inputs)})})
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    with torch.no_grad():
        tower.text_projection.weight.mul_(float("nan"))
    step(poisoned, *rest)
    assert step.skipped == 1
    with torch.no_grad():
        tower.text_projection.weight.copy_(before["text_projection.weight"])
    for name, tensor in tower.state_dict().items():
        torch.testing.assert_close(tensor, before[name], msg=name)
    step(batch, *rest)
    assert step.skipped == 1
    assert not torch.equal(tower.text_projection.weight, before["text_projection.weight"])


def test_a_frozen_image_encoder_is_left_alone_and_all_else_learns(
    make: Make, items: PreparedItems, sampler: BatchSampler
) -> None:
    frozen = MODEL.model_copy(
        update={"image": ImageConfig(pixels=32, patch=16, width=32, layers=1, heads=2, frozen=True)}
    )
    tower, step = make(model=frozen)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    step(*batch_of(items, sampler))
    still = {name for name, tensor in tower.state_dict().items() if torch.equal(tensor, before[name])}
    assert {name for name in still if not name.startswith("image.backbone.")} == {"match_bias"}
    assert {name for name in before if name.startswith("image.backbone.")} <= still
    assert not tower.image.backbone.training


def test_bfloat16_is_close_to_float32(make: Make, items: PreparedItems, sampler: BatchSampler) -> None:
    losses = []
    for precision in (torch.float32, torch.bfloat16):
        _, step = make()
        step.precision = precision
        torch.manual_seed(0)
        losses.append(step(*batch_of(items, sampler))["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def test_narrow_widths_are_trained_as_vectors_of_their_own(
    make: Make, items: PreparedItems, sampler: BatchSampler
) -> None:
    _, whole = make()
    tower, both = make(model=MODEL.model_copy(update={"widths": (4,)}))
    torch.manual_seed(0)
    plain = whole(*batch_of(items, sampler))["loss"]
    torch.manual_seed(0)
    mixed = both(*batch_of(items, sampler))["loss"]
    assert tower.widths == (4,)
    assert mixed != plain
