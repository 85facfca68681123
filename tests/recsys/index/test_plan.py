from __future__ import annotations

import pytest

from recsys.exceptions import ConfigError
from recsys.index.plan import plan


def test_bytes_shards_and_hours_follow_from_the_arithmetic() -> None:
    made = plan(10**9, 64, 64, 0.95, 50_000)
    needs = {footprint.kind: footprint for footprint in made.others}
    assert needs["ivf_fp16"].arithmetic == "2 x 64 + 8 = 136"
    assert needs["ivf_fp16"].memory == 136e9
    assert needs["ivf_fp16"].disk == (136 + 256) * 1e9
    assert needs["ivf_fp16"].shards == 3  # 136 / (0.8 x 64)
    assert needs["exact"].shards == 5
    assert made.footprint == needs["ivf_pq"]
    assert (made.footprint.memory, made.footprint.disk, made.footprint.shards) == (24e9, (24 + 128 + 256) * 1e9, 1)
    assert "ivf_fp16 (136.0 GB) would not fit in 51.2 GB" in made.reason
    lists, sample = 126_491, 64 * 126_491
    seconds = (10 * sample + 10**9) * lists * 64 * 2 / 60e9 + 10**9 * 5e-6 / 4
    assert made.core_hours == pytest.approx(seconds / 3600)
    assert made.steps[0] == "lists: 4 x sqrt(1,000,000,000) = 126,491"


def test_what_no_machine_holds_is_split() -> None:
    made = plan(10**10, 64, 64, 0.95, 50_000)
    assert made.footprint.kind == "ivf_pq"
    assert made.footprint.shards == 5  # 240 / 51.2
    assert made.steps[0] == "10,000,000,000 vectors / 5 shards = 2,000,000,000 a shard"
    assert "the smallest" in made.reason


def test_a_small_catalogue_is_searched_exactly_and_a_graph_is_linked() -> None:
    assert plan(10_000, 64, 1, 0.95, 50_000).footprint.kind == "exact"
    graph = plan(1_000_000, 256, 16, 0.99, 50_000)
    assert graph.footprint.kind == "hnsw"
    assert graph.core_hours == pytest.approx(1e6 * 19.93 * 40e-6 / 3600, rel=1e-3)


@pytest.mark.parametrize(("items", "width", "memory"), [(0, 64, 1), (10, 0, 1), (10, 64, -1)])
def test_numbers_that_make_no_sense_are_refused(items: int, width: int, memory: float) -> None:
    with pytest.raises(ConfigError, match="Give a positive number"):
        plan(items, width, memory, 0.95, 50_000)
