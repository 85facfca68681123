"""Zero-shot classifier: labels for pictures and items from the names of classes alone (2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from recsys.exceptions import ConfigError
from recsys.towers.base import ItemTower
from recsys.types import FloatArray, Image

TEMPLATES_EN = (
    "{}",
    "a photo of {}",
    "a photo of a {}",
    "a close-up photo of {}",
    "a picture of {} taken with a phone",
    "a bright photo of {}",
    "a cropped photo of {}",
    "a photo of many {}",
    "a note about {}",
    "a post with pictures of {}",
    "my favourite {}",
    "a guide to {}",
)
TEMPLATES_ZH = (
    "{}",
    "一张{}的照片",
    "{}的图片",
    "{}的特写",
    "手机随手拍的{}",
    "一张好看的{}照片",
    "照片里有{}",
    "一张{}的局部照片",
    "关于{}的笔记",
    "分享{}",
    "{}推荐",
    "{}攻略",
)
SCALE = 100.0  # CLIP's largest inverse temperature, where its training ends


class ZeroShotClassifier:
    """Compares vectors with one a class: the mean of its prompts, each of unit length, brought to unit length again.

    Args:
        tower: encodes the prompts and, where pictures are asked for, those.
        classes: names, in the language of the templates.
        templates: sentences with ``{}`` where the name goes.
        scale: factor on cosines before the softmax; towers of this package have ``tower.match_scale.exp()``.

    Raises:
        ConfigError: fewer than two classes, two of one name, no template, or one without ``{}``.
    """

    def __init__(
        self,
        tower: ItemTower,
        classes: Sequence[str],
        templates: Sequence[str] = TEMPLATES_EN,
        scale: float = SCALE,
    ) -> None:
        if len(classes) < 2:
            raise ConfigError(f"{len(classes)} class leaves nothing to choose.", "Name two classes or more.")
        if repeated := sorted({name for name in classes if classes.count(name) > 1}):
            raise ConfigError(f"Classes occur twice: {', '.join(repeated)}.", "Name each class once.")
        if broken := [template for template in templates if "{}" not in template]:
            raise ConfigError(f"{broken[0]!r} has no place for the name of a class.", "Write {} where it goes.")
        if not templates:
            raise ConfigError("There is no template.", 'Give at least "{}".')
        self.tower = tower
        self.classes = tuple(classes)
        self.scale = scale
        prompts = [template.replace("{}", name) for name in classes for template in templates]
        vectors = tower.encode_text(prompts).reshape(len(classes), len(templates), -1).mean(axis=1)
        self.vectors: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def probabilities(self, items: FloatArray | Sequence[Image | FloatArray]) -> FloatArray:
        """How likely each class is, ``[n, classes]``.

        Args:
            items: unit vectors of the tower, ``[n, d]``, or a list of what its ``encode_image`` reads.

        Returns:
            Rows that sum to 1; zeros where the vector is zero: of an item without a picture nothing can be said.

        Raises:
            ConfigError: the vectors are not as wide as the tower's.
        """
        vectors = items if isinstance(items, np.ndarray) else self.tower.encode_image(items)
        if vectors.shape[1] != self.tower.width:
            raise ConfigError(
                f"Vectors of width {vectors.shape[1]} were given, the tower's have {self.tower.width}.",
                "Encode the items with the tower of the classifier.",
            )
        chances = softmax(self.scale * vectors @ self.vectors.T, axis=1)
        return np.where(vectors.any(axis=1, keepdims=True), chances, 0).astype(np.float32)

    def classify(self, items: FloatArray | Sequence[Image | FloatArray], k: int = 1) -> list[list[tuple[str, float]]]:
        """The ``k`` likeliest classes of each item with their probabilities, best first; none for a zero vector.

        Args:
            items: as in :meth:`probabilities`.
            k: at most as many as there are classes are given.
        """
        chances = self.probabilities(items)
        order = np.argsort(-chances, axis=1, kind="stable")[:, :k]
        return [
            [(self.classes[column], float(row[column])) for column in best if row.any()]
            for row, best in zip(chances, order, strict=True)
        ]
