"""``kill -9`` at random moments: what was acknowledged is there, what was removed stays away, manifests verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KILLING = Path(__file__).with_name("killing.py")


def killed(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, str(KILLING), str(folder), str(kills), str(seed)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    facts = killed(tmp_path, 20, seed=1)
    assert facts["kills"] == sum(facts["during"].values()) == 20
    assert facts["acknowledged_writes"] > 20


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    facts = killed(tmp_path, 200, seed=1000)
    assert facts["kills"] == 200
    assert {"open", "merge", "rebase", "publish"} <= facts["during"].keys()
    assert facts["acknowledged_writes"] > 1000
    assert facts["acknowledged_publications"] > 20
