"""Shared fixtures. The generated world and a tiny trained home are built once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.console import Console
from pipelines.run import Run
from pipelines.run_config import load_run_config
from recsys.data.world import WorldConfig, generate

TINY_RUN = """
name = "tiny"
size = "tiny"
dataset.world = {n_items = 300, n_users = 120, n_authors = 40, n_requests = 900}
"""

torch.set_num_threads(1)  # the models are tiny: threads would wait for each other longer than they work


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real public data that developers keep beside the checkout; a user's clone has none."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, which are not part of the repository")
    return path


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated data set of 300 notes and 120 users, in the folder that is returned."""
    path = tmp_path_factory.mktemp("tiny_world")
    generate(WorldConfig(n_items=300, n_users=120, n_authors=40, n_requests=900), path)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config file of a run over the tiny world."""
    file = tmp_path_factory.mktemp("tiny_run") / "tiny.toml"
    file.write_text(TINY_RUN)
    return file


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """A home folder in which every stage of the tiny run is done. Read only: tests that change it copy it."""
    home = tmp_path_factory.mktemp("tiny_home")
    Run(home, load_run_config(tiny_run), Console()).everything()
    return home
