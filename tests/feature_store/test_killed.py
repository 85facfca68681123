"""``kill -9`` at random moments: no acknowledged value is lost, and no half of a write is visible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KILLING = Path(__file__).with_name("killing.py")


def killed(kind: str, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, str(KILLING), kind, str(folder), str(kills), str(seed)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.mark.parametrize("kind", ["lmdb", "snapshot"])
def test_a_few_kills_lose_nothing(tmp_path: Path, kind: str) -> None:
    facts = killed(kind, tmp_path, 8, seed=1)
    assert facts["kills"] == sum(facts["during"].values()) == 8
    assert facts["acknowledged"]["push"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmdb", "snapshot"])
def test_two_hundred_kills_lose_nothing(tmp_path: Path, kind: str) -> None:
    facts = killed(kind, tmp_path, 200, seed=1000)
    assert facts["kills"] == 200
    assert {"push", "write", "materialize", "compact"} <= facts["during"].keys()
    assert facts["acknowledged"]["push"] > 20
