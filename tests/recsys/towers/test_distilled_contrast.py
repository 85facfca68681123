from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.towers.distilled_contrast import distilled_contrast

TEMPERATURE = torch.tensor(0.1)


def vectors(n: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_without_slow_encoders_it_is_the_symmetric_cross_entropy_of_clip() -> None:
    text, image = vectors(5, 0), vectors(5, 1)
    logits, labels = text @ image.T / 0.1, torch.arange(5)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    got = distilled_contrast(text, image, (text, image), torch.eye(5, dtype=torch.bool), TEMPERATURE)
    torch.testing.assert_close(got, expected)


def test_soft_targets_as_written_out() -> None:
    text, image, texts, images = vectors(3, 0), vectors(3, 1), vectors(7, 2), vectors(7, 3)
    same = torch.eye(3, 7, dtype=torch.bool)
    same[1, 5] = True  # the second item stands in the queue, too
    alpha = 0.4
    expected = torch.zeros(())
    for live, slow, keys in ((text, texts, images), (image, images, texts)):
        for row in range(3):
            share = {0: {0: 1.0}, 1: {1: 0.5, 5: 0.5}, 2: {2: 1.0}}[row]
            believed = torch.softmax(slow[row] @ keys.T / 0.1, 0)
            log_probability = torch.log_softmax(live[row] @ keys.T / 0.1, 0)
            for column in range(7):
                target = alpha * believed[column] + (1 - alpha) * share.get(column, 0.0)
                expected = expected - target * log_probability[column] / 3 / 2
    got = distilled_contrast(text, image, (texts, images), same, TEMPERATURE, alpha)
    torch.testing.assert_close(got, expected)


def test_an_item_that_occurs_twice_is_no_negative_of_itself() -> None:
    text = vectors(4, 0)
    text[1] = text[0]
    ids = torch.tensor([0, 0, 1, 2])
    masked = distilled_contrast(text, text, (text, text), ids[:, None] == ids, TEMPERATURE)
    strict = distilled_contrast(text, text, (text, text), torch.eye(4, dtype=torch.bool), TEMPERATURE)
    assert masked.isfinite()
    torch.testing.assert_close(masked, strict)  # two equal rows share the mass that either would have had
    text[1] = vectors(1, 9)[0]
    spread = distilled_contrast(text, text, (text, text), ids[:, None] == ids, TEMPERATURE)
    assert spread > distilled_contrast(text, text, (text, text), torch.eye(4, dtype=torch.bool), TEMPERATURE)


def test_the_belief_gets_no_gradient() -> None:
    text, image = vectors(3, 0).requires_grad_(), vectors(3, 1).requires_grad_()
    slow = vectors(3, 2).requires_grad_()
    temperature = torch.tensor(0.1, requires_grad=True)
    same = torch.eye(3, dtype=torch.bool)
    distilled_contrast(text, image, (slow.detach(), slow.detach()), same, temperature, 1.0).backward()
    logits = temperature.detach().requires_grad_()
    with torch.no_grad():
        target = torch.softmax(slow @ slow.T / 0.1, 1)
    by_hand = sum(F.cross_entropy(live.detach() @ slow.detach().T / logits, target) / 2 for live in (text, image))
    by_hand.backward()
    torch.testing.assert_close(temperature.grad, logits.grad)
