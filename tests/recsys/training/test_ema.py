from __future__ import annotations

import torch

from recsys.training.ema import Ema


def test_the_average_follows_the_formula_and_the_weights_come_back() -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 2.0]]))
    ema = Ema(module, 0.9)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, 4.0]]))
    ema.update()
    with ema.applied():
        torch.testing.assert_close(module.weight.detach(), torch.tensor([[1.1, 2.2]]))
    torch.testing.assert_close(module.weight.detach(), torch.tensor([[2.0, 4.0]]))


def test_counters_are_copied_not_averaged() -> None:
    norm = torch.nn.BatchNorm1d(2)
    ema = Ema(norm, 0.5)
    norm(torch.randn(4, 2))
    ema.update()
    assert ema.average["num_batches_tracked"] == 1
    torch.testing.assert_close(ema.average["running_mean"], norm.running_mean / 2)
