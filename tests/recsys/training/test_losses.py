from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from recsys.towers.logit_scale import LARGEST, clamp_logit_scale, new_logit_scale
from recsys.training.losses import info_nce


@pytest.fixture
def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return F.normalize(torch.randn(6, 8), dim=1), F.normalize(torch.randn(6, 8), dim=1)


def test_distinct_ids_give_clip_cross_entropy(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    scale = torch.tensor(2.0)
    logits = math.exp(2.0) * a @ b.T
    expected = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    ids = torch.arange(6)
    torch.testing.assert_close(info_nce(a, b, scale, ids, ids), expected)


def test_equal_ids_share_the_target_mass(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    ids = torch.tensor([0, 1, 1, 2, 3, 3])
    target = (ids[:, None] == ids[None, :]).float()
    target = target / target.sum(dim=1, keepdim=True)
    logits = math.exp(1.0) * a @ b.T
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(info_nce(a, b, torch.tensor(1.0), ids, ids), expected)


def test_a_twins_text_that_fits_better_is_not_punished() -> None:
    """Two pictures of one item whose texts are swapped: as negatives they cost a lot, as positives little."""
    torch.manual_seed(1)
    a = F.normalize(torch.randn(4, 8), dim=1)
    swapped = a[[1, 0, 2, 3]]
    known = info_nce(a, swapped, torch.tensor(3.0), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 2]))
    unknown = info_nce(a, swapped, torch.tensor(3.0), torch.arange(4), torch.arange(4))
    assert known < 0.6 * unknown


def test_permuting_the_batch_changes_nothing(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    ids = torch.tensor([0, 1, 1, 2, 3, 4])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(
        info_nce(a, b, torch.tensor(2.0), ids, ids),
        info_nce(a[order], b[order], torch.tensor(2.0), ids[order], ids[order]),
    )


def test_an_item_is_never_its_own_negative(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Pairs 7->8 and 8->9: column 8 is row 8 itself, so what it scores there must not matter."""
    a, b = vectors
    ids_a, ids_b = torch.tensor([7, 8]), torch.tensor([8, 9])
    loss = info_nce(a[:2], b[:2], torch.tensor(2.0), ids_a, ids_b, same_space=True)
    logits = math.exp(2.0) * a[:2] @ b[:2].T
    rows = (F.cross_entropy(logits[:1], torch.tensor([0])) + 0.0) / 2  # row 8 has its positive alone: cost 0
    columns = (0.0 + F.cross_entropy(logits.T[1:], torch.tensor([1]))) / 2
    torch.testing.assert_close(loss, (rows + columns) / 2)


def test_no_pairs_cost_nothing_and_still_have_a_gradient() -> None:
    a = torch.empty(0, 4, requires_grad=True)
    loss = info_nce(a, torch.empty(0, 4), torch.tensor(1.0), torch.empty(0), torch.empty(0))
    loss.backward()
    assert loss.item() == 0.0
    assert a.grad is not None
    assert a.grad.shape == (0, 4)


def test_logit_scale_starts_at_one_over_temperature_and_is_clamped() -> None:
    scale = new_logit_scale()
    assert scale.item() == pytest.approx(2.6592, abs=1e-4)
    with torch.no_grad():
        scale.fill_(9.0)
    clamp_logit_scale(scale)
    assert scale.exp().item() == pytest.approx(100.0, rel=1e-5)
    assert LARGEST == pytest.approx(4.6052, abs=1e-4)
    with torch.no_grad():
        scale.fill_(-1.0)
    clamp_logit_scale(scale)
    assert scale.item() == 0.0
