from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from recsys.evaluation.catalogue_map import BACKGROUND, GAP, TILE, draw_map, on_grid

RED, BLUE = (200, 30, 40), (30, 40, 200)


def cover(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 90), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_point_gets_a_cell_of_its_own_and_a_grid_stays_a_grid() -> None:
    """A 5 x 3 lattice, shuffled, goes to its own cells."""
    lattice = np.array([(x, y) for y in range(3) for x in range(5)])
    order = np.random.default_rng(0).permutation(15)
    cells = on_grid(10 * lattice[order].astype(np.float32) + 7)
    np.testing.assert_array_equal(cells, lattice[order])


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_any_number_fits(n: int) -> None:
    cells = on_grid(np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32))
    assert len(np.unique(cells, axis=0)) == n
    assert len(np.unique(on_grid(np.zeros((n, 2), np.float32)), axis=0)) == n


def test_similar_covers_lie_side_by_side() -> None:
    rng = np.random.default_rng(0)
    red = np.arange(40) % 2 == 0
    vectors = np.where(red[:, None], [1.0, 0, 0], [0, 1.0, 0]) + 0.05 * rng.normal(size=(40, 3))
    page = draw_map(vectors.astype(np.float32), [cover(RED if is_red else BLUE) for is_red in red])
    assert page == draw_map(vectors.astype(np.float32), [cover(RED if is_red else BLUE) for is_red in red])
    with Image.open(io.BytesIO(page)) as drawn:
        size, pixels = drawn.size, np.asarray(drawn.convert("RGB")).astype(int)
    assert size == (8 * (TILE + GAP) + GAP, 5 * (TILE + GAP) + GAP)
    middles = pixels[GAP + TILE // 2 :: TILE + GAP, GAP + TILE // 2 :: TILE + GAP]
    is_red = middles[:, :, 0] > middles[:, :, 2]
    assert is_red.sum() == 20
    changes = (is_red[:, 1:] != is_red[:, :-1]).sum() + (is_red[1:] != is_red[:-1]).sum()
    assert changes <= 12  # of 67 neighbours; by chance some 34


def test_a_broken_cover_leaves_its_place_empty() -> None:
    with Image.open(io.BytesIO(draw_map(np.eye(2, dtype=np.float32), [cover(RED), b"no picture"]))) as drawn:
        left, right = (drawn.getpixel((GAP + TILE // 2 + i * (TILE + GAP), GAP + TILE // 2)) for i in (0, 1))
    near = pytest.approx(RED, abs=6)
    assert (left == near) != (right == near)
    assert pytest.approx(BACKGROUND, abs=6) in (left, right)
