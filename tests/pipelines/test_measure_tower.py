"""Tables from vectors made by hand, whose figures can be told in advance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.measure_tower import (
    cross_modal_tables,
    geometry_table,
    label_table,
    partner_table,
    text_to_item_table,
)
from pipelines.tower_evidence import Asked, Evaluated, LaterPairs, Sizes, judged
from recsys import schemas
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.pairs import ItemPairs
from recsys.embeddings.table import EmbeddingTable
from recsys.evaluation.judgements import Judgements
from recsys.evaluation.slices import ItemSlice
from recsys.evaluation.tower_report import FigureRow, FigureTable
from recsys.types import FloatArray, IdMap

N = 20
EVERYONE = np.arange(N, dtype=np.int32)
NO_PAIRS = ItemPairs(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
EVALUATED = Evaluated(EVERYONE, "", EVERYONE, NO_PAIRS)
ONE_POINT = np.tile(np.eye(1, N, dtype=np.float32), (N, 1))


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{schemas.ITEM_ID: f"i{row}", schemas.TITLE: "x" * (1 + row)} for row in range(N)])
    return Dataset(tmp_path)


def tables(text: FloatArray, image: FloatArray, fused: FloatArray) -> dict[str, EmbeddingTable]:
    ids = IdMap.of([f"i{row}" for row in range(N)])
    return {name: EmbeddingTable(ids, of, "") for name, of in {"text": text, "image": image, "fused": fused}.items()}


def row(table: FigureTable, part: str, name: str | None = None) -> FigureRow:
    return next(found for found in table.rows if found.part == part and name in (None, found.name))


def asked(vectors: FloatArray, texts: list[str] | None = None) -> list[Asked]:
    right = judged(EVERYONE, EVERYONE, N)
    return [Asked("en", texts or [f"query {row}" for row in range(N)], vectors, right)]


def test_texts_on_their_pictures_are_found_and_one_point_for_all_is_chance(data: Dataset) -> None:
    apart = np.eye(N, dtype=np.float32)
    to_picture, to_text = cross_modal_tables(data, tables(ONE_POINT, apart, apart), EVALUATED, asked(apart))
    for table in (to_picture, to_text):
        assert row(table, "en").figures["recall@1"].value == 1
        own = row(table, "own text")
        assert own.figures["recall@5"].value == pytest.approx(5 / N)
        assert own.chance["recall@5"] == pytest.approx(5 / N)
    assert row(to_picture, "own short text").n == 5  # titles of 1 to 20 characters


def test_items_without_a_picture_are_no_part_of_the_gallery(data: Dataset) -> None:
    image = np.eye(N, dtype=np.float32)
    image[5:] = 0
    to_picture, _ = cross_modal_tables(data, tables(ONE_POINT, image, ONE_POINT), EVALUATED, asked(ONE_POINT))
    assert row(to_picture, "en").n == 5
    assert row(to_picture, "en").chance["recall@1"] == pytest.approx(1 / 5)
    blank = np.zeros((N, N), np.float32)
    assert cross_modal_tables(data, tables(ONE_POINT, blank, ONE_POINT), EVALUATED, asked(ONE_POINT)) == []


def test_a_query_that_stands_in_the_item_says_nothing(data: Dataset) -> None:
    apart = np.eye(N, dtype=np.float32)
    texts = ["x", "xx", *(f"query {row}" for row in range(2, N))]  # the titles of items 0 and 1
    table = text_to_item_table(data, tables(ONE_POINT, apart, apart), EVALUATED, asked(apart, texts))
    assert table is not None
    assert {found.name: found.n for found in table.rows} == {"text-only": 18, "image-only": 18, "both": 18}
    assert row(table, "en", "both").figures["recall@1"].value == 1
    assert row(table, "en", "text-only").figures["recall@10"].value == pytest.approx(10 / N)


def test_partners_are_found_by_what_tells_of_them_the_item_itself_not_counting() -> None:
    """Items 2i and 2i + 1 are partners, and lie on one point in the fused vectors only."""
    paired = np.repeat(np.eye(N // 2, N, dtype=np.float32), 2, axis=0)
    apart = np.eye(N, dtype=np.float32)
    cold = ItemSlice("cold", "", EVERYONE >= 16)
    partners = judged(EVERYONE, EVERYONE ^ 1, N)
    later = LaterPairs(EVERYONE, partners, Judgements.of([[]] * N), (cold,))
    table = partner_table(tables(ONE_POINT, apart, paired), later)
    assert row(table, "all", "both").figures["recall@10"].value == 1
    assert row(table, "all", "text-only").figures["recall@10"].value == pytest.approx(10 / 19)
    assert row(table, "all", "image-only").figures["recall@10"].value == pytest.approx(10 / 19)
    assert row(table, "all").chance["recall@10"] == pytest.approx(10 / 19)
    assert (row(table, "cold", "both").n, row(table, "cold", "both").figures["recall@10"].value) == (4, 1)
    assert table.differences[0].estimate.value == pytest.approx(9 / 19)
    assert table.differences[0].label == "both − text-only, Recall@10, all"


def test_pairs_the_tower_could_learn_are_neither_right_nor_in_the_way_among_new_ones() -> None:
    """The anchor's known partner is nearest, its new one next."""
    fused = np.zeros((N, N), np.float32)
    fused[:3, :2] = [[1, 0], [0.96, 0.28], [0.6, 0.8]]
    fused[3:] = -np.eye(N, dtype=np.float32)[3:]
    later = LaterPairs(np.array([0], np.int32), Judgements.of([[1, 2]]), Judgements.of([[1]]), ())
    table = partner_table(tables(fused, fused, fused), later)
    assert row(table, "all").figures["recall@10"].value == 1
    assert row(table, "new pairs").chance["recall@10"] == pytest.approx(10 / 18)
    assert row(table, "all").chance["recall@10"] == pytest.approx(10 / 19)


def test_geometry_of_one_point_and_of_corners(data: Dataset) -> None:
    apart = np.eye(N, dtype=np.float32)
    table = geometry_table(tables(ONE_POINT, ONE_POINT, apart), EVALUATED, None, Sizes())
    assert table is not None
    assert [(found.name, found.figures["alignment"].value) for found in table.rows] == [
        ("text and picture of an item", 0)
    ]
    assert table.rows[0].figures["uniformity"].value == pytest.approx(0)
    later = LaterPairs(EVERYONE, judged(EVERYONE, EVERYONE ^ 1, N), Judgements.of([[]] * N), ())
    table = geometry_table(tables(ONE_POINT, np.zeros((N, N), np.float32), apart), EVALUATED, later, Sizes())
    assert table is not None
    figures = {found.name: found.figures for found in table.rows}
    assert figures.keys() == {"partners, text-only", "partners, both"}
    assert figures["partners, both"]["alignment"].value == pytest.approx(2)
    assert figures["partners, both"]["uniformity"].value == pytest.approx(-4)


class Naming:
    """Encodes a sentence as the category it names."""

    width = N
    capabilities = frozenset({"zero_shot"})

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes

    def encode_text(self, texts: list[str]) -> FloatArray:
        named = [max(range(len(self.classes)), key=lambda place: self.classes[place] in text) for text in texts]
        return np.eye(N, dtype=np.float32)[named]


def test_labels_are_right_where_the_vectors_say_so_and_chance_where_they_say_nothing(tmp_path: Path) -> None:
    classes = [f"[{letter}]" for letter in "abcdefghij"]
    with DatasetWriter(tmp_path) as writer:
        writer.write(
            "items",
            [
                {schemas.ITEM_ID: f"i{row}", schemas.CATEGORY: classes[row % 10], schemas.LANGUAGE: "zh"}
                for row in range(N)
            ],
        )
    known = np.eye(N, dtype=np.float32)[EVERYONE % 10]
    table = label_table(Dataset(tmp_path), Naming(classes), tables(known, 0 * known, ONE_POINT), EVALUATED)
    assert table is not None
    assert row(table, "zh", "text-only").figures["top-1"].value == 1
    assert "10.0%" in table.caption
    assert {found.name for found in table.rows} == {"text-only", "both"}
    assert row(table, "zh", "both").figures["top-1"].value == pytest.approx(1 / 10)  # one class is always right
    assert row(table, "zh").chance["top-5"] == pytest.approx(0.5)


def test_no_categories_no_labels(data: Dataset) -> None:
    assert label_table(data, Naming([]), tables(ONE_POINT, ONE_POINT, ONE_POINT), EVALUATED) is None
