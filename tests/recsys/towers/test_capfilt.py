from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.capfilt import CapFiltConfig, is_poor, synthesise

CORPUS = ["a red apple", "the sea", "hills 绿色"] * 2
IMAGES = [np.eye(4, dtype=np.float32)[row] for row in range(4)]


@pytest.fixture(scope="module")
def tower() -> BlipTower:
    torch.manual_seed(0)
    config = BlipConfig(
        text=GroundedTextConfig(max_tokens=8, vocab_size=100, width=16, layers=1, heads=2),
        image=ImageConfig(kind="features", width=4),
        width=8,
        queue=0,
        alpha=0.0,
    )
    made = BlipTower.create(config, CORPUS)
    with torch.no_grad():
        made.matching_head.weight.normal_()
    return made


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("text", "poor"), [(None, True), ("", True), ("  ab ", True), ("abc", False), ("好看的", False)]
)
def test_a_text_is_poor_below_so_many_characters(text: str | None, poor: bool) -> None:
    assert is_poor(text, CapFiltConfig(fewer_characters=3)) is poor


def test_a_caption_is_kept_if_it_matches_its_own_picture(tower: BlipTower) -> None:
    images = [IMAGES[0], None, *IMAGES[1:]]
    all_kept = synthesise(tower, images, CapFiltConfig(least_probability=0.0), generator())
    assert [one.reason for one in all_kept] == ["matches", "no picture", "matches", "matches", "matches"]
    assert all_kept[1].caption is None
    for one, image in zip(all_kept, images, strict=True):
        if image is not None:
            assert one.probability == pytest.approx(float(tower.match([str(one.caption)], [image])[0]), abs=1e-5)
    judged = sorted(one.probability for one in all_kept if one.probability is not None)
    strict = synthesise(tower, images, CapFiltConfig(least_probability=judged[1] + 1e-6), generator())
    assert [one.caption for one in strict] == [one.caption for one in all_kept]
    assert [one.kept for one in strict] == [
        one.probability is not None and one.probability > judged[1] for one in all_kept
    ]
    assert {one.reason for one in strict if one.caption and not one.kept} == {"does not match"}


def test_nothing_written_is_not_kept(tower: BlipTower) -> None:
    with torch.no_grad():
        before = tower.text.bert.head_bias.clone()
        tower.text.bert.head_bias[tower.text.end_id] = 1e4
    found = synthesise(tower, IMAGES, CapFiltConfig(least_probability=0.0), generator())
    with torch.no_grad():
        tower.text.bert.head_bias.copy_(before)
    assert [(one.reason, one.kept, one.probability) for one in found] == [("nothing written", False, None)] * 4


def test_the_seed_decides(tower: BlipTower) -> None:
    config = CapFiltConfig()
    first = synthesise(tower, IMAGES, config, generator(1))
    assert synthesise(tower, IMAGES, config, generator(1)) == first
    assert synthesise(tower, IMAGES, config, generator(2)) != first
    assert synthesise(tower, [], config, generator()) == []
