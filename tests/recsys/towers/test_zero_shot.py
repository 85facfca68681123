from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.exceptions import ConfigError
from recsys.towers.base import ItemBatch
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.towers.zero_shot import TEMPLATES_EN, TEMPLATES_ZH, ZeroShotClassifier

COLOURS = {"red": "红色", "green": "绿色", "blue": "蓝色", "white": "白色"}
SEEN = ("{}", "a photo of {}", "{}的图片")


def shade(colour: str, seed: int) -> bytes:
    """A picture near a colour, never the same twice."""
    noise = np.random.default_rng(seed).integers(-40, 40, (20, 20, 3))
    pixels = np.clip(np.asarray(Image.new("RGB", (20, 20), colour)).astype(int) + noise, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def tower() -> ClipTower:
    """Has learned which word names which colour, by the symmetric cross-entropy of pictures and prompts."""
    torch.manual_seed(0)
    config = ClipConfig(
        text=TextConfig(max_tokens=12, vocab_size=100, width=16, layers=1, heads=2),
        image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
        width=8,
    )
    names = [(name, row) for row, pair in enumerate(COLOURS.items()) for name in pair]
    prompts = [(template.replace("{}", name), row) for name, row in names for template in SEEN]
    tower = ClipTower.create(config, [text for text, _ in prompts])
    pictures = [shade(colour, seed) for seed in range(6) for colour in COLOURS]
    images = torch.from_numpy(tower.image.prepare(pictures))
    tokens, rows = torch.from_numpy(tower.text.tokens([text for text, _ in prompts])), [row for _, row in prompts]
    same = torch.tensor([[place % len(COLOURS) == row for place in range(len(pictures))] for row in rows]).float()
    optimizer = torch.optim.Adam(tower.parameters(), lr=1e-2)
    tower.eval()  # no dropout: the same run everywhere
    for _ in range(40):
        logits = 10 * tower.read_text(tokens) @ tower.read_image(images).T
        loss = -(logits.log_softmax(1) * same).sum(1).mean() - (logits.log_softmax(0) * same).sum(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tower


@pytest.mark.parametrize("classes", [list(COLOURS), list(COLOURS.values())], ids=["English", "Chinese"])
def test_pictures_get_the_name_of_what_they_show(tower: ClipTower, classes: list[str]) -> None:
    classifier = ZeroShotClassifier(tower, classes, SEEN)
    pictures = [shade(colour, seed) for seed in range(100, 110) for colour in COLOURS]
    found = [best[0][0] for best in classifier.classify(pictures)]
    assert np.mean([name == classes[row % len(classes)] for row, name in enumerate(found)]) >= 0.95


def test_a_class_is_the_mean_of_its_prompts(tower: ClipTower) -> None:
    classifier = ZeroShotClassifier(tower, ["red", "blue"], SEEN, scale=7)
    means = np.stack([tower.encode_text([t.format(name) for t in SEEN]).mean(axis=0) for name in ("red", "blue")])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.vectors, expected, atol=1e-6)
    vectors = tower.encode_image([shade("red", 1), shade("white", 2)])
    logits = np.exp(7 * vectors @ expected.T)
    np.testing.assert_allclose(classifier.probabilities(vectors), logits / logits.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(
        classifier.probabilities([shade("red", 1), shade("white", 2)]), classifier.probabilities(vectors), atol=1e-6
    )


def test_the_order_of_classes_changes_nothing(tower: ClipTower) -> None:
    vectors = tower.encode_image([shade("green", 1)])
    there = ZeroShotClassifier(tower, ["red", "green", "blue"]).probabilities(vectors)
    back = ZeroShotClassifier(tower, ["blue", "green", "red"]).probabilities(vectors)
    np.testing.assert_allclose(there, back[:, ::-1], atol=1e-6)


def test_the_likeliest_come_first_and_of_nothing_nothing_is_said(tower: ClipTower) -> None:
    classifier = ZeroShotClassifier(tower, list(COLOURS), SEEN)
    vectors = tower.encode_items(ItemBatch(["red", "red"], [shade("green", 3), None]))["image"]
    first, second = classifier.classify(vectors, k=3)
    chances = classifier.probabilities(vectors)
    assert first[0][0] == "green"
    np.testing.assert_allclose([chance for _, chance in first], np.sort(chances[0])[:0:-1], rtol=1e-6)
    np.testing.assert_allclose(chances.sum(axis=1), [1, 0], atol=1e-5)
    assert second == []
    assert len(classifier.classify(vectors, k=9)[0]) == len(COLOURS)
    assert classifier.classify([]) == []


def test_templates_have_one_place_each_and_none_occurs_twice() -> None:
    for templates in (TEMPLATES_EN, TEMPLATES_ZH):
        assert all(template.count("{}") == 1 for template in templates)
        assert len(set(templates)) == len(templates) == 12


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        (["red"], SEEN, "two classes"),
        (["red", "blue", "red"], SEEN, "twice: red"),
        (["red", "blue"], ["a photo"], "'a photo' has no place"),
        (["red", "blue"], [], "no template"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tower: ClipTower, classes: list[str], templates: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ZeroShotClassifier(tower, classes, templates)


def test_vectors_of_another_tower_are_refused(tower: ClipTower) -> None:
    with pytest.raises(ConfigError, match="width 3"):
        ZeroShotClassifier(tower, ["red", "blue"]).probabilities(np.ones((1, 3), np.float32))
