from __future__ import annotations

import re

import pytest

from recsys.index.choice import choose


@pytest.mark.parametrize(
    ("rows", "width", "target", "memory_gb", "kind", "reason"),
    [
        (49_999, 256, 0.95, None, "exact", "49,999 vectors of width 256: exact search, quick enough below 50,000"),
        (50_000, 256, 0.95, None, "ivf_fp16", r"recall 0.95: ivf_fp16, half floats .* \(26 MB\)"),
        (10**6, 256, 0.95, 0.53, "ivf_fp16", r"\(520 MB\)$"),  # 2 x 256 + 8 bytes a vector
        (10**6, 256, 0.95, 0.51, "ivf_pq", r"\(72 MB\); ivf_fp16 \(520 MB\) would not fit in 0.51 GB"),
        (10**6, 256, 0.95, 0.07, "rabitq", r"\(48 MB\); ivf_fp16 \(520 MB\), ivf_pq \(72 MB\) would not fit"),
        (10**6, 256, 0.95, 0.04, "rabitq", r"the smallest, though its 48 MB exceed 0.04 GB: split it"),
        (10**6, 16, 0.95, 0.01, "ivf_pq", r"the smallest, though its 12 MB exceed 0.01 GB: split it"),
        (10**6, 256, 0.99, None, "hnsw", r"a graph, the quickest from recall 0.99 on \(784 MB\)"),
        (10**6, 256, 0.99, 0.6, "ivf_fp16", r"hnsw \(784 MB\) would not fit in 0.6 GB"),
    ],
)
def test_the_quickest_kind_that_fits_and_why(
    rows: int, width: int, target: float, memory_gb: float | None, kind: str, reason: str
) -> None:
    choice = choose(rows, width, target, memory_gb, exact_below=50_000)
    assert choice.kind == kind
    assert re.search(reason, choice.reason), choice.reason
