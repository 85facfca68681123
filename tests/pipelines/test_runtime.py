from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

from pipelines.runtime import RuntimeConfig, open_runtime

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module


class Squarer:
    """Notes in a folder that it was made, and by which process."""

    def __init__(self, factor: int, made: Path) -> None:
        self.factor = factor
        (made / str(os.getpid())).touch()

    def __call__(self, task: int) -> int:
        return self.factor * task**2


@pytest.mark.parametrize("kind", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_every_task_is_done_once_whatever_the_runtime(kind: str, tmp_path: Path) -> None:
    make: Callable[[], Squarer] = partial(Squarer, 2, tmp_path)
    runtime = open_runtime(RuntimeConfig.model_validate({"kind": kind, "workers": 2}))
    assert sorted(runtime.map(make, range(6), "Squaring")) == [0, 2, 8, 18, 32, 50]
    processes = {int(file.name) for file in tmp_path.iterdir()}
    assert processes == {os.getpid()} if kind == "inline" else os.getpid() not in processes


def test_no_tasks_make_no_worker(tmp_path: Path) -> None:
    for kind in ("inline", "ray"):
        runtime = open_runtime(RuntimeConfig.model_validate({"kind": kind}))
        assert list(runtime.map(partial(Squarer, 2, tmp_path), [], "Squaring")) == []
    assert list(tmp_path.iterdir()) == []
