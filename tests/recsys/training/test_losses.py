from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from recsys.towers.logit_scale import LARGEST, clamp_logit_scale, new_logit_scale
from recsys.training.losses import info_nce, pair_info_nce


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
    torch.testing.assert_close(info_nce(a, b, scale, ids), expected)


def test_equal_ids_share_the_target_mass(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    ids = torch.tensor([0, 1, 1, 2, 3, 3])
    target = (ids[:, None] == ids[None, :]).float()
    target = target / target.sum(dim=1, keepdim=True)
    logits = math.exp(1.0) * a @ b.T
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(info_nce(a, b, torch.tensor(1.0), ids), expected)


def test_a_twins_text_that_fits_better_is_not_punished() -> None:
    """Two pictures of one item whose texts are swapped: as negatives they cost a lot, as positives little."""
    torch.manual_seed(1)
    a = F.normalize(torch.randn(4, 8), dim=1)
    swapped = a[[1, 0, 2, 3]]
    known = info_nce(a, swapped, torch.tensor(3.0), torch.tensor([0, 0, 1, 2]))
    unknown = info_nce(a, swapped, torch.tensor(3.0), torch.arange(4))
    assert known < 0.6 * unknown


def test_permuting_the_batch_changes_nothing(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    ids = torch.tensor([0, 1, 1, 2, 3, 4])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(
        info_nce(a, b, torch.tensor(2.0), ids),
        info_nce(a[order], b[order], torch.tensor(2.0), ids[order]),
    )


def test_one_partner_a_row_gives_note_llms_cross_entropy(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Three pairs = six items, one 6 x 6 matrix, the diagonal masked, the partner as label (2403.01744)."""
    items, _ = vectors
    partner = torch.tensor([3, 4, 5, 0, 1, 2])
    affinity = torch.zeros(6, 6)
    affinity[torch.arange(6), partner] = torch.tensor([0.2, 3.0, 1.0, 0.2, 3.0, 1.0])  # one partner: the score is moot
    logits = (math.exp(3.0) * items @ items.T).masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf)
    loss = pair_info_nce(items, torch.tensor(3.0), affinity, torch.arange(6))
    torch.testing.assert_close(loss, F.cross_entropy(logits, partner))


def test_partners_share_the_target_by_their_scores(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    items, _ = vectors
    affinity = torch.zeros(6, 6)
    affinity[0, 1], affinity[0, 2] = 3.0, 1.0
    logits = (math.exp(1.0) * items[:1] @ items.T)[:, 1:]
    expected = F.cross_entropy(logits, torch.tensor([[0.75, 0.25, 0.0, 0.0, 0.0]]))  # the other rows have no partner
    torch.testing.assert_close(pair_info_nce(items, torch.tensor(1.0), affinity, torch.arange(6)), expected)


def test_an_item_that_occurs_twice_is_neither_its_own_partner_nor_its_own_negative(
    vectors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    items, _ = vectors
    twice = items[[0, 0, 1, 2]]
    affinity = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    loss = pair_info_nce(twice, torch.tensor(2.0), affinity, torch.tensor([0, 0, 1, 2]))
    logits = math.exp(2.0) * twice @ twice.T
    first = F.cross_entropy(logits[:1, 2:], torch.tensor([0]))  # row 0 and row 1 alike
    third = F.cross_entropy(logits[2:3, [0, 1, 3]], torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(loss, (2 * first + third) / 3)


def test_no_pairs_cost_nothing_and_still_have_a_gradient() -> None:
    a = torch.empty(0, 4, requires_grad=True)
    loss = info_nce(a, torch.empty(0, 4), torch.tensor(1.0), torch.empty(0))
    lonely = torch.eye(3, requires_grad=True)
    loss = loss + pair_info_nce(lonely, torch.tensor(1.0), torch.zeros(3, 3), torch.arange(3))
    loss.backward()
    assert loss.item() == 0.0
    assert lonely.grad is not None
    assert not lonely.grad.any()


def test_logit_scale_starts_at_one_over_temperature_and_is_clamped() -> None:
    scale = new_logit_scale()
    assert scale.item() == pytest.approx(2.6592, abs=1e-4)
    with torch.no_grad():
        scale.fill_(9.0)
    clamp_logit_scale(scale)
    assert scale.exp().item() == pytest.approx(100.0, rel=1e-5)
    assert pytest.approx(4.6052, abs=1e-4) == LARGEST
    with torch.no_grad():
        scale.fill_(-1.0)
    clamp_logit_scale(scale)
    assert scale.item() == 0.0
