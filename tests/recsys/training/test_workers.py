"""Two real processes that share a batch, against one that computes it alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_setup import CONFIG, MODEL, fresh_tower, prepared

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.pairs import PairConfig, mine_pairs
from recsys.towers.weights import unique_weights
from recsys.training import workers
from recsys.training.trainer import train

HERE = Path(__file__)
QUIET = MODEL.model_copy(update={"text": MODEL.text.model_copy(update={"dropout": 0.0})})
SHORT = CONFIG.model_copy(update={"steps": 12, "evaluate_every": 4, "items_per_batch": 16, "anchors_per_batch": 6})


def run(dataset: Path, work: Path, micro_batch: int | None) -> None:
    """Train, and let the first worker write the losses and the weights."""
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    world = Dataset(dataset)
    pairs = mine_pairs(Interactions.of(world.events, world.ids), PairConfig())
    tower = fresh_tower(world, QUIET)
    with workers.one_after_another():
        items = prepared(world, tower, work)
    rows = torch.arange(len(items), dtype=torch.int32).numpy()
    config = SHORT.model_copy(update={"micro_batch": micro_batch})
    progress = train(tower, items, rows, pairs, config, work)
    if workers.rank() == 0:
        (work / "history.json").write_text(json.dumps(progress.history))
        save_file(unique_weights(tower), work / "weights.safetensors")


def start(dataset: Path, work: Path, micro_batch: int | None, n: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(n):
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n), "RANK": str(rank)}
        arguments = [sys.executable, str(HERE), str(dataset), str(work), str(micro_batch or 0)]
        processes.append(subprocess.Popen(arguments, env=os.environ | where | {"OMP_NUM_THREADS": "1"}))
    assert [process.wait(120) for process in processes] == [0] * n


@pytest.mark.parametrize("micro_batch", [None, 9])
def test_two_workers_learn_what_one_does(tiny_world: Path, tmp_path: Path, micro_batch: int | None) -> None:
    """The same curve and the same weights, negatives of the other worker and temperatures included."""
    run(tiny_world, tmp_path / "one", None)
    (tmp_path / "two").mkdir()
    start(tiny_world, tmp_path / "two", micro_batch, 2)
    one, two = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two"))
    assert len(one) == len(two) == 3
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-4)
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-2, atol=2e-4, msg=name)


if __name__ == "__main__":
    dataset, work, micro_batch = sys.argv[1:]
    run(Path(dataset), Path(work), int(micro_batch) or None)
