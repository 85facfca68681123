from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from recsys.towers.logit_scale import INITIAL, LARGEST, clamp_logit_scale
from recsys.training.losses import distillation, info_nce, pair_info_nce, sigmoid_loss


def same(*ids: int) -> torch.Tensor:
    """Which rows show one item."""
    numbers = torch.tensor(ids)
    return numbers[:, None] == numbers


EACH_ITS_OWN = same(0, 1, 2, 3, 4, 5)


@pytest.fixture
def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return F.normalize(torch.randn(6, 8), dim=1), F.normalize(torch.randn(6, 8), dim=1)


def test_distinct_ids_give_clip_cross_entropy(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    scale = torch.tensor(2.0)
    logits = math.exp(2.0) * a @ b.T
    expected = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    torch.testing.assert_close(info_nce(a, b, scale, EACH_ITS_OWN), expected)


def test_equal_ids_share_the_target_mass(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    groups = same(0, 1, 1, 2, 3, 3)
    target = groups.float()
    target = target / target.sum(dim=1, keepdim=True)
    logits = math.exp(1.0) * a @ b.T
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(info_nce(a, b, torch.tensor(1.0), groups), expected)


def test_a_twins_text_that_fits_better_is_not_punished() -> None:
    """Two pictures of one item whose texts are swapped: as negatives they cost a lot, as positives little."""
    torch.manual_seed(1)
    a = F.normalize(torch.randn(4, 8), dim=1)
    swapped = a[[1, 0, 2, 3]]
    known = info_nce(a, swapped, torch.tensor(3.0), same(0, 0, 1, 2))
    unknown = info_nce(a, swapped, torch.tensor(3.0), same(0, 1, 2, 3))
    assert known < 0.6 * unknown


def test_permuting_the_batch_changes_nothing(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    groups = same(0, 1, 1, 2, 3, 4)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(
        info_nce(a, b, torch.tensor(2.0), groups),
        info_nce(a[order], b[order], torch.tensor(2.0), groups[order][:, order]),
    )


def test_one_partner_a_row_gives_note_llms_cross_entropy(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Three pairs = six items, one 6 x 6 matrix, the diagonal masked, the partner as label (2403.01744)."""
    items, _ = vectors
    partner = torch.tensor([3, 4, 5, 0, 1, 2])
    affinity = torch.zeros(6, 6)
    affinity[torch.arange(6), partner] = torch.tensor([0.2, 3.0, 1.0, 0.2, 3.0, 1.0])  # one partner: the score is moot
    logits = (math.exp(3.0) * items @ items.T).masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf)
    loss = pair_info_nce(items, torch.tensor(3.0), affinity, EACH_ITS_OWN)
    torch.testing.assert_close(loss, F.cross_entropy(logits, partner))


def test_partners_share_the_target_by_their_scores(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    items, _ = vectors
    affinity = torch.zeros(6, 6)
    affinity[0, 1], affinity[0, 2] = 3.0, 1.0
    logits = (math.exp(1.0) * items[:1] @ items.T)[:, 1:]
    expected = F.cross_entropy(logits, torch.tensor([[0.75, 0.25, 0.0, 0.0, 0.0]]))  # the other rows have no partner
    torch.testing.assert_close(pair_info_nce(items, torch.tensor(1.0), affinity, EACH_ITS_OWN), expected)


def test_an_item_that_occurs_twice_is_neither_its_own_partner_nor_its_own_negative(
    vectors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    items, _ = vectors
    twice = items[[0, 0, 1, 2]]
    affinity = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    loss = pair_info_nce(twice, torch.tensor(2.0), affinity, same(0, 0, 1, 2))
    logits = math.exp(2.0) * twice @ twice.T
    first = F.cross_entropy(logits[:1, 2:], torch.tensor([0]))  # row 0 and row 1 alike
    third = F.cross_entropy(logits[2:3, [0, 1, 3]], torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(loss, (2 * first + third) / 3)


def test_no_pairs_cost_nothing_and_still_have_a_gradient() -> None:
    a = torch.empty(0, 4, requires_grad=True)
    loss = info_nce(a, torch.empty(0, 4), torch.tensor(1.0), torch.empty(0, 0, dtype=torch.bool))
    lonely = torch.eye(3, requires_grad=True)
    loss = loss + pair_info_nce(lonely, torch.tensor(1.0), torch.zeros(3, 3), same(0, 1, 2))
    loss.backward()
    assert loss.item() == 0.0
    assert lonely.grad is not None
    assert not lonely.grad.any()


def test_logit_scale_starts_at_one_over_temperature_and_is_clamped() -> None:
    scale = torch.nn.Parameter(torch.tensor(INITIAL))
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


def test_sigmoid_loss_is_a_binary_cross_entropy_of_every_pair(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = vectors
    groups = same(0, 1, 1, 2, 3, 4)
    logits = 10 * a @ b.T - 3
    expected = F.binary_cross_entropy_with_logits(logits, groups.float(), reduction="sum") / 6
    scale = torch.tensor(math.log(10))
    torch.testing.assert_close(sigmoid_loss(a, b, scale, torch.tensor(-3.0), groups), expected)


def test_log_q_is_subtracted(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A frequent item is a negative too often; the correction must make it a *weaker* one, not a stronger one."""
    items, _ = vectors
    affinity = torch.zeros(6, 6)
    affinity[0, 1] = 1.0
    frequent = torch.log(torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, 0.5]))
    plain = pair_info_nce(items, torch.tensor(0.0), affinity, EACH_ITS_OWN)
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.2])  # (1 / q) relative to the others
    scores = torch.exp(items[0] @ items[1:].T) * weights
    corrected = pair_info_nce(items, torch.tensor(0.0), affinity, EACH_ITS_OWN, frequent)
    torch.testing.assert_close(corrected, -torch.log(scores[0] / scores.sum()))
    assert corrected < plain


def test_sampled_softmax_with_log_q_finds_what_goes_together_not_what_is_frequent() -> None:
    """Free logits trained on batches in which item 2 comes ten times as often: both partners are equally likely."""
    random = torch.Generator().manual_seed(0)
    q = torch.tensor([1 / 12, 1 / 12, 10 / 12])
    outcomes = {}
    for log_q in (None, q.log()):
        logits = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=0.1)
        for _ in range(1000):
            positive = torch.multinomial(torch.tensor([0.5, 0.0, 0.5]), 1, generator=random)
            negatives = torch.multinomial(q, 2000, replacement=True, generator=random)
            batch = torch.cat([positive, negatives])
            scores = logits[batch] if log_q is None else logits[batch] - log_q[batch]
            optimizer.zero_grad()
            F.cross_entropy(scores[None], torch.zeros(1, dtype=torch.long)).backward()
            optimizer.step()
        outcomes["corrected" if log_q is not None else "plain"] = (logits[0] - logits[2]).item()
    assert abs(outcomes["corrected"]) < 0.5
    assert outcomes["plain"] > 1.5


def test_a_twin_of_a_positive_is_no_negative() -> None:
    others = [[-1.0, 0.3], [-0.8, 0.6], [-0.5, 0.9]]
    items = F.normalize(torch.tensor([[1.0, 0.2], [0.9, 0.5], [0.9, 0.505], *others]), dim=1)
    affinity = torch.zeros(6, 6)
    affinity[0, 1] = 1.0
    logits = math.e * items[0] @ items.T
    masked = pair_info_nce(items, torch.tensor(1.0), affinity, same(*range(6)), largest_cosine=0.98)
    torch.testing.assert_close(masked, F.cross_entropy(logits[[1, 3, 4, 5]][None], torch.tensor([0])))
    kept = pair_info_nce(items, torch.tensor(1.0), affinity, same(*range(6)))
    torch.testing.assert_close(kept, F.cross_entropy(logits[1:][None], torch.tensor([0])))


def test_vectors_that_are_all_alike_still_push_each_other_away() -> None:
    """At the start everything is close to everything; a mask of twins would leave nothing to learn from."""
    items = F.normalize(1 + 0.01 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    affinity = torch.zeros(8, 8)
    affinity[0, 1] = 1.0
    masked = pair_info_nce(items, torch.tensor(1.0), affinity, same(*range(8)), largest_cosine=0.98)
    torch.testing.assert_close(masked, pair_info_nce(items, torch.tensor(1.0), affinity, same(*range(8))))


def test_distillation_is_zero_only_where_student_and_teacher_agree(
    vectors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    a, b = vectors
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3))).Q
    assert distillation(a, b, a @ turn, b @ turn, torch.tensor(2.0)).item() == pytest.approx(0, abs=1e-6)
    student, teacher = math.exp(2.0) * a @ b.T, math.exp(2.0) * b @ a.T
    rows = [(s.softmax(1), t.softmax(1)) for s, t in ((student, teacher), (student.T, teacher.T))]
    expected = torch.stack([(t * (t.log() - s.log())).sum(1).mean() for s, t in rows]).mean()
    torch.testing.assert_close(distillation(a, b, b, a, torch.tensor(2.0)), expected)
