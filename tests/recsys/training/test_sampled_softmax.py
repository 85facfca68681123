from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recsys.training.sampled_softmax import NegativeSampler, sampled_softmax


def test_over_the_whole_catalogue_it_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 9)
    right = torch.tensor([0, 3, 8, 2, 2])
    own = F.one_hot(right, 9).bool()
    loss = sampled_softmax(logits[own], logits, torch.zeros(9), own)
    torch.testing.assert_close(loss, F.cross_entropy(logits, right))


def test_what_is_excluded_is_no_negative() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0]])
    excluded = torch.tensor([[True, True, False]])
    loss = sampled_softmax(logits[:, 0], logits, torch.zeros(3), excluded)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:, [0, 2]], torch.tensor([0])))
    assert sampled_softmax(logits[:0, 0], logits[:0], torch.zeros(3), excluded[:0]).item() == 0


def test_draws_follow_their_chances_and_say_so() -> None:
    sampler = NegativeSampler.of(np.array([6, 0, 2]))
    assert sampler.items.tolist() == [0, 2]
    assert sampler.chances.tolist() == [0.625, 0.375]
    items, log_expected = sampler.draw(20_000, np.random.default_rng(0))
    assert (items == 0).mean() == pytest.approx(0.625, abs=0.01)
    np.testing.assert_allclose(log_expected.exp(), np.where(items == 0, 12_500, 7_500), rtol=1e-5)


def test_the_correction_has_the_right_sign() -> None:
    """Corrected, the sampled sum is on average that over the catalogue; with the other sign it is far from it."""
    counts = np.array([1000, 100, 10, 1])
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0])
    sampler, random = NegativeSampler.of(counts), np.random.default_rng(0)
    sums = dict.fromkeys((1, -1), 0.0)
    for _ in range(2000):
        items, log_expected = sampler.draw(8, random)
        for sign in sums:
            sums[sign] += (logits[items] - sign * log_expected).exp().sum().item() / 2000
    truth = logits.exp().sum().item()
    assert sums[1] == pytest.approx(truth, rel=0.03)
    assert abs(sums[-1] / truth - 1) > 0.5


def test_a_model_trained_on_samples_learns_how_often_things_follow_not_how_often_they_are_drawn() -> None:
    """Three items follow equally often; one is drawn far more often as a negative, and must not sink for that."""
    sampler = NegativeSampler(np.arange(3, dtype=np.int32), np.array([0.9, 0.05, 0.05]))
    scores = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([scores], lr=0.2)
    random = np.random.default_rng(0)
    average = torch.zeros(3)
    for step in range(600):
        items, log_expected = sampler.draw(200, random)
        right = torch.from_numpy(random.integers(0, 3, 8))
        excluded = right[:, None] == torch.from_numpy(items.astype(np.int64))[None, :]
        loss = sampled_softmax(scores[right], scores[items].expand(8, -1), log_expected, excluded)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average += scores.detach() / 300 if step >= 300 else 0
    assert (average.softmax(dim=0) - 1 / 3).abs().max().item() < 0.05
