from __future__ import annotations

from recsys.index.kinds import Effort
from recsys.index.routes import Terrain

LISTS = Terrain(rows=1_000_000, width=64, lists=4000, graph=False)
GRAPH = Terrain(rows=1_000_000, width=64, lists=0, graph=True)


def test_few_matching_rows_are_compared_and_many_are_passed_through() -> None:
    for terrain, breadth in [(LISTS, 200), (GRAPH, 1000)]:
        quicker = [
            terrain.comparing_is_quicker(matching, 1, breadth) for matching in (0, 10, 1000, 10_000, 100_000, 900_000)
        ]
        assert quicker[:3] == [True, True, True]
        assert quicker[-1] is False
        assert quicker == sorted(quicker, reverse=True)  # it changes once


def test_a_batch_that_shares_a_filter_shares_the_copying() -> None:
    matching = next(m for m in range(0, 10**6, 1000) if not LISTS.comparing_is_quicker(m, 1, 500))
    assert LISTS.comparing_is_quicker(matching, 256, 500)


def test_the_fewer_rows_match_the_broader_a_graph_looks_up_to_a_bound() -> None:
    assert [GRAPH.breadth_of_graph(Effort(64), share) for share in (1, 0.25, 1e-6)] == [256, 1024, 4096]
