from __future__ import annotations

import os
import socket
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from recsys.exceptions import ConfigError
from recsys.towers.momentum import FeatureQueue, Momentum
from recsys.towers.weights import load_weights, unique_weights


def test_a_step_keeps_m_of_the_old_and_gives_no_gradient() -> None:
    torch.manual_seed(0)
    live = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    slow = Momentum({"net": deepcopy(live)}, momentum=0.995)
    old = [parameter.clone() for parameter in slow.parameters()]
    with torch.no_grad():
        for parameter in live.parameters():
            parameter.add_(1.0)
    live(torch.randn(8, 3)).sum().backward()
    slow.follow({"net": live})
    for before, after, original in zip(old, slow.parameters(), live.parameters(), strict=True):
        torch.testing.assert_close(after, 0.995 * before + 0.005 * original)
        assert not after.requires_grad
    assert torch.equal(slow["net"][1].running_mean, live[1].running_mean)


def test_a_copy_may_lack_parts_and_never_drops_out() -> None:
    live = nn.ModuleDict({"kept": nn.Linear(2, 2), "left": nn.Linear(2, 2)})
    slow = Momentum({"net": nn.ModuleDict({"kept": deepcopy(live["kept"])})}, momentum=0.5)
    slow.follow({"net": live})
    assert slow.train().training is False
    assert "left" not in slow["net"]
    with pytest.raises(ConfigError, match="kept"):
        slow.follow({"net": nn.ModuleDict({"left": nn.Linear(2, 2)})})


def pairs(start: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items = torch.arange(start, start + count)
    return items[:, None] * torch.ones(2), -items[:, None] * torch.ones(2), items


def test_the_queue_goes_on_at_the_front() -> None:
    queue = FeatureQueue(5, 2)
    assert len(queue.filled()[2]) == 0
    queue.push(*pairs(0, 3))
    assert queue.filled()[2].tolist() == [0, 1, 2]
    queue.push(*pairs(3, 4))
    text, image, items = queue.filled()
    assert items.tolist() == [5, 6, 2, 3, 4]
    assert text[:, 0].tolist() == [5, 6, 2, 3, 4]
    assert image[:, 1].tolist() == [-5, -6, -2, -3, -4]
    assert int(queue.place) == 2


def test_of_a_batch_larger_than_the_queue_the_last_stay() -> None:
    queue = FeatureQueue(3, 2)
    queue.push(*pairs(0, 8))
    assert sorted(queue.filled()[2].tolist()) == [5, 6, 7]
    lacking = pairs(20, 4)
    lacking[2][1:3] = -1
    queue.push(*lacking)
    assert sorted(queue.filled()[2].tolist()) == [7, 20, 23]
    empty = FeatureQueue(0, 2)
    empty.push(*pairs(0, 8))
    assert len(empty.filled()[2]) == 0


def test_the_queue_survives_save_and_resume(tmp_path: Path) -> None:
    queue = FeatureQueue(4, 2)
    queue.push(*pairs(0, 6))
    save_file(unique_weights(queue), tmp_path / "queue.safetensors")
    resumed = FeatureQueue(4, 2)
    load_weights(resumed, load_file(tmp_path / "queue.safetensors"))
    for one in (queue, resumed):
        one.push(*pairs(6, 1))
    assert queue.filled()[2].tolist() == resumed.filled()[2].tolist() == [6, 3, 4, 5]
    assert torch.equal(queue.text, resumed.text)


def test_workers_hold_the_same_queue(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path)], env=os.environ | where | {"RANK": str(rank)})
        for rank in range(2)
    ]
    assert [process.wait(120) for process in started] == [0, 0]
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert one["items"].tolist() == two["items"].tolist() == [12, 1, 2, 10, 11]
    assert torch.equal(one["text"], two["text"])


def push_as_worker(folder: Path) -> None:
    """Each worker has three pairs, of which the first worker's first is none."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    text, image, items = pairs(10 * rank, 3)
    if rank == 0:
        items[0] = -1
    queue = FeatureQueue(5, 2)
    queue.place.fill_(1)
    queue.push(text, image, items)
    save_file(unique_weights(queue), folder / f"{rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    push_as_worker(Path(sys.argv[1]))
