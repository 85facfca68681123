"""Shared fixtures. The generated world and a tiny trained home are built once per session."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real public data that developers keep beside the checkout; a user's clone has none."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, which are not part of the repository")
    return path
