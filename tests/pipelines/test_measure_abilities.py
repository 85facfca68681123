"""Matching and captioning of towers whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from pipelines.measure_abilities import Viewed, by_pairs, caption_table, matching_tables
from pipelines.tower_evidence import Asked, Sizes
from recsys.data.dataset import Dataset
from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.evaluation.judgements import Judgements
from recsys.towers.abilities import Captioning, Matching
from recsys.towers.base import TowerInputs
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.rerank import rerank_by_match

N = 40
ROWS = np.arange(N, dtype=np.int32)


class Numbers:
    """Reads a text that is a number as one token."""

    tokenizer: Tokenizer
    max_tokens = 1

    def tokens(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[int(text)] for text in texts], np.int32)


class Knowing(Matching, Captioning):
    """Its pictures are vectors of one number; it knows which number belongs to which text.

    Args:
        wrong: log odds it gives to a pair that does not belong together.
    """

    family = "knowing"

    def __init__(self, wrong: float = -1.0) -> None:
        super().__init__(N)
        self.text = Numbers()
        self.image = ImageEncoder.create(ImageConfig(kind="features", width=1))
        self.wrong = wrong

    @classmethod
    def create(cls, config: Any, corpus: Sequence[str]) -> Knowing:
        return cls()

    @classmethod
    def restore(cls, description: Mapping[str, Any], tokenizer: Tokenizer) -> Knowing:
        return cls()

    def describe(self) -> dict[str, Any]:
        return {}

    def forward(self, inputs: TowerInputs) -> dict[str, Tensor]:
        raise AssertionError

    def read_text(self, tokens: Tensor) -> Tensor:
        raise AssertionError

    def read_image(self, images: Tensor) -> Tensor:
        raise AssertionError

    contrast_temperature = 0.5
    match_weight = torch.ones(())

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        return torch.where(tokens[:, 0] == images[:, 0], 1.0, self.wrong)

    def caption_nll(self, tokens: Tensor, images: Tensor) -> Tensor:
        return torch.where(tokens[:, 0] == images[:, 0], 0.5, 2.0)

    def write_captions(
        self, images: Tensor, max_tokens: int, top_p: float | None = None, random: torch.Generator | None = None
    ) -> list[str]:
        return [f"{number:.0f}" for number in images[:, 0]]


def viewed() -> Viewed:
    return Viewed(ROWS, np.eye(N, dtype=np.float32), torch.arange(N, dtype=torch.float32)[:, None])


def asked(vectors: np.ndarray) -> list[Asked]:
    return [Asked("en", [str(row) for row in ROWS], vectors.astype(np.float32), Judgements.of([[row] for row in ROWS]))]


def one_off() -> np.ndarray:
    """Each text lies on the picture after its own, and half as near to its own."""
    return 0.8 * np.roll(np.eye(N), 1, axis=1) + 0.6 * np.eye(N)


def test_who_knows_the_pairs_is_right_about_the_hard_ones_and_reranks_to_the_top() -> None:
    told, again = matching_tables(Knowing(), viewed(), asked(one_off()), Sizes(looked_at=30))
    assert told.rows[0].n == 30
    assert {name: figure.value for name, figure in told.rows[0].figures.items()} == {
        "accuracy": 1,
        "of right pairs": 1,
        "of wrong pairs": 1,
        "right above wrong": 1,
    }
    assert [(row.name, row.figures["recall@1"].value) for row in again.rows] == [("cosine", 0), ("looked at again", 1)]
    assert again.differences[0].estimate.value == 1
    assert again.rows[0].chance["recall@5"] == pytest.approx(5 / N)


def test_who_says_yes_to_everything_is_right_half_the_time_and_reranks_nothing() -> None:
    told, again = matching_tables(Knowing(wrong=1.0), viewed(), asked(one_off()), Sizes())
    assert {name: figure.value for name, figure in told.rows[0].figures.items()} == {
        "accuracy": 0.5,
        "of right pairs": 1,
        "of wrong pairs": 0,
        "right above wrong": 0.5,
    }
    assert again.differences[0].estimate.value == 0
    assert [row.figures["recall@5"].value for row in again.rows] == [1, 1]


class Deceived(Knowing):
    """Believes each text of its own picture and of the one after it."""

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        return torch.where((images[:, 0] - tokens[:, 0]) % N <= 1, 1.0, -1.0)


def test_the_colder_the_draw_the_likelier_the_nearest_wrong_pair() -> None:
    """Text i lies on picture i + 1, so that wrong pair is drawn where the temperature is low, and is the hardest."""
    deceived = Deceived()
    accuracy = {}
    for temperature in (0.01, 100.0):
        deceived.contrast_temperature = temperature
        told, _ = matching_tables(deceived, viewed(), asked(one_off()), Sizes())
        accuracy[temperature] = {row.part: row.figures["of wrong pairs"].value for row in told.rows}
    by_likeness = {part: right for part, right in accuracy[0.01].items() if "drawn" in part or "hardest" in part}
    assert len(by_likeness) == 5
    assert set(by_likeness.values()) == {0}
    assert accuracy[100.0]["en, the hardest picture"] == accuracy[100.0]["en, the hardest text"] == 0
    assert accuracy[100.0]["en, a drawn picture"] > 0.85
    assert accuracy[100.0]["en, a drawn text"] > 0.85
    either = accuracy[100.0]["en, a drawn picture"] + accuracy[100.0]["en, a drawn text"]
    assert accuracy[100.0]["en, drawn"] == pytest.approx(either / 2)


def test_the_pair_most_alike_in_words_is_judged_whatever_the_vectors_say() -> None:
    """Texts 2i and 2i + 1 share a word; only of these pairs the tower believes the wrong one."""

    class Confused(Knowing):
        def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
            return torch.where(tokens[:, 0] // 2 == images[:, 0].long() // 2, 1.0, -1.0)

    class Words(Numbers):
        def tokens(self, texts: Sequence[str]) -> np.ndarray:
            return super().tokens([text.split()[0] for text in texts])

    tower = Confused()
    tower.text = Words()
    pairs = asked(one_off())[0]
    about = Asked("en", [f"{row} pair{row // 2}" for row in ROWS], pairs.vectors, pairs.right)
    told, _ = matching_tables(tower, viewed(), [about], Sizes())
    rows = {row.part: row.figures["of wrong pairs"].value for row in told.rows}
    assert rows["en"] == rows["en, the text most alike"] == rows["en, its picture"] == 0
    assert rows["en, drawn"] > 0.3


def test_only_what_the_vectors_found_is_looked_at_again() -> None:
    """The right picture is last by cosine, behind the 32 that are looked at: it stays there."""
    far = np.ones((N, N)) / np.sqrt(N) - 0.5 * np.eye(N)
    _, again = matching_tables(Knowing(), viewed(), asked(far), Sizes())
    assert [row.figures["recall@10"].value for row in again.rows] == [0, 0]


def test_the_same_words_about_another_picture_are_no_hard_negative() -> None:
    texts = asked(np.eye(N))[0]
    twins = Asked("en", ["0", "0", *texts.texts[2:]], one_off().astype(np.float32), texts.right)
    told, _ = matching_tables(Knowing(wrong=1.0), viewed(), [twins], Sizes())
    assert told.rows[0].figures["of right pairs"].value == 1  # text "0" beside picture 1 is called wrong, thus likely
    assert told.rows[0].n == N


def test_a_caption_is_likelier_beside_its_picture_by_a_known_margin() -> None:
    table = caption_table(Knowing(), viewed(), asked(np.eye(N)), Sizes())
    assert table is not None
    assert [(row.name, row.figures["nll"].value) for row in table.rows] == [
        ("right picture", 0.5),
        ("another picture", 2.0),
    ]
    assert (table.differences[0].estimate.value, table.differences[0].estimate.low) == (1.5, 1.5)


def test_no_texts_no_tables() -> None:
    assert matching_tables(Knowing(), viewed(), [], Sizes()) == []
    assert caption_table(Knowing(), viewed(), [], Sizes()) is None


class Guessing(Knowing):
    """Odds that have nothing to do with the pair, but are always the same."""

    def match_logits(self, tokens: Tensor, images: Tensor) -> Tensor:
        return torch.sin(12.9898 * tokens[:, 0] + 78.233 * images[:, 0])


def test_the_order_is_that_of_search() -> None:
    """Hits of the table are those of ``rerank_by_match`` on the 32 nearest pictures."""
    vectors = np.random.default_rng(0).normal(size=(N, N)) + 2 * np.eye(N)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tower, pictures = Guessing(), [np.array([number], np.float32) for number in range(N)]
    _, again = matching_tables(tower, viewed(), asked(vectors), Sizes())
    hits = []
    for own, cosines in enumerate(vectors.astype(np.float32)):
        nearest = np.argsort(-cosines)[:32]
        scores = rerank_by_match(tower, str(own), [pictures[place] for place in nearest], cosines[nearest])
        hits.append(own in nearest[np.argsort(-scores)][:5])
    assert 0 < np.mean(hits) < 1
    assert again.rows[1].figures["recall@5"].value == pytest.approx(np.mean(hits))


def test_pictures_encoded_once_are_judged_as_the_pictures_themselves(tiny_world: Path) -> None:
    torch.manual_seed(0)
    config = BlipConfig(
        text=GroundedTextConfig(max_tokens=8, vocab_size=100, width=16, layers=1, heads=2),
        image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
        width=8,
    )
    tower = BlipTower.create(config, ["手冲咖啡 latte art", "a walk by the sea 海边"] * 2)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    data = Dataset(tiny_world)
    rows = np.flatnonzero(data.items["n_images"].to_numpy() > 0)[:6].astype(np.int32)
    seen = Viewed.of(data, tower, np.zeros((len(data.ids), 8), np.float32), rows, Sizes())
    texts = ["a walk by the sea", "海", "latte", "手冲咖啡", "sea", "a"]
    order = np.array([3, 1, 0, 5, 2, 4])
    images = [cover for cover in data.covers(rows[order].tolist()) if cover]
    odds = by_pairs(tower, tower.match_logits, texts, seen.images, order)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), tower.match(texts, images), rtol=1e-5)
    assert np.ptp(odds) > 0.05
