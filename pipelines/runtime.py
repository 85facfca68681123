"""Where a job runs: inline in this process, or on Ray. The work is the same function of ``recsys`` either way."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import ray
import ray.data
import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from recsys.config import BaseConfig
from recsys.progress import track

Worker = Callable[[int], int]


class RuntimeConfig(BaseConfig):
    """``address`` is that of a running Ray cluster; without one a local Ray is started and stopped again."""

    kind: Literal["inline", "ray"] = "inline"
    address: str | None = None
    workers: int | None = None


class Runtime(Protocol):
    """Runs independent tasks."""

    def map(self, make_worker: Callable[[], Worker], tasks: Sequence[int], description: str) -> Iterator[int]:
        """Results of the tasks, in any order. Each worker is made once and serves many tasks."""
        ...

    def together(self, work: Callable[[], None]) -> None:
        """Run the same work in every worker at once, as the ranks of one ``torch.distributed`` group.

        What it writes must be reachable from all of them.
        """
        ...


class InlineRuntime:
    """One worker, in this process."""

    def map(self, make_worker: Callable[[], Worker], tasks: Sequence[int], description: str) -> Iterator[int]:
        if tasks:
            worker = make_worker()
            for task in track(tasks, description):
                yield worker(task)

    def together(self, work: Callable[[], None]) -> None:
        work()


class RayRuntime:
    """An actor per worker, fed by Ray Data."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config

    def map(self, make_worker: Callable[[], Worker], tasks: Sequence[int], description: str) -> Iterator[int]:
        if not tasks:
            return
        with _ray(self.config.address):
            workers = min(self.config.workers or int(ray.cluster_resources()["CPU"]), len(tasks))
            done = (
                ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
                .map_batches(
                    _Actor,
                    fn_constructor_args=(make_worker,),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(size=workers),
                    num_cpus=1,
                )
                .iter_rows()
            )
            yield from track((int(row["result"]) for row in done), description, len(tasks))

    def together(self, work: Callable[[], None]) -> None:
        if self.config.workers in (None, 1):  # several workers are for those who ask for them
            work()
            return
        with _ray(self.config.address), tempfile.TemporaryDirectory() as scratch:
            TorchTrainer(
                lambda: _in_each(work),
                scaling_config=ScalingConfig(num_workers=self.config.workers, use_gpu="GPU" in ray.cluster_resources()),
                run_config=RunConfig(storage_path=scratch),
            ).fit()


def _in_each(work: Callable[[], None]) -> None:
    work()
    ray.train.report({})


@contextlib.contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """A cluster to work on: the one that is connected, else one that is connected, or started, for the block."""
    ours = not ray.is_initialized()
    if ours:
        _start_ray(address)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


class _Actor:
    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self.worker = make_worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"result": [self.worker(int(task)) for task in batch["task"]]}


def _start_ray(address: str | None) -> None:
    """Connect to a cluster, or start a local one, without Ray's running commentary."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def open_runtime(config: RuntimeConfig) -> Runtime:
    return RayRuntime(config) if config.kind == "ray" else InlineRuntime()
