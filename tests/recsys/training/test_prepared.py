from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_setup import MODEL, fresh_tower, prepared

from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.encoders.image import ImageConfig
from recsys.exceptions import ConfigError
from recsys.towers.base import TrainingBatch
from recsys.training.prepared import PreparedItems

EVERYTHING = slice(None)


@pytest.fixture(scope="module")
def items(world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> PreparedItems:
    return prepared(world, fresh_tower(world), tmp_path_factory.mktemp("items"))


def drawn(
    items: PreparedItems, rows: np.ndarray, share: slice = EVERYTHING, step: int = 0, **settings: float
) -> tuple[TrainingBatch, torch.Tensor]:
    return items.batch(rows, share, 0, step, 10, **{"caption_share": 0.0, "crop": 0.2, **settings})


def test_pictures_are_decoded_once(world: Dataset, items: PreparedItems, tmp_path: Path) -> None:
    tower = fresh_tower(world)
    covers = world.covers(range(len(items)))
    np.testing.assert_array_equal(items.images, tower.image.prepare(covers))
    np.testing.assert_array_equal(items.has_image, [cover is not None for cover in covers])
    prepared(world, tower, tmp_path)
    modified = (tmp_path / ".pixels.npy").stat().st_mtime_ns
    prepared(world, tower, tmp_path)
    assert (tmp_path / ".pixels.npy").stat().st_mtime_ns == modified


def test_half_written_pictures_are_written_again(world: Dataset, tmp_path: Path) -> None:
    (tmp_path / ".pixels.partial").write_bytes(b"cut off")
    items = prepared(world, fresh_tower(world), tmp_path)
    assert items.images.shape == (len(world.ids), 3, 32, 32)


def test_a_frozen_encoder_gives_states_in_place_of_pictures(
    world: Dataset, items: PreparedItems, tmp_path: Path
) -> None:
    image = ImageConfig(pixels=32, patch=16, width=32, layers=1, heads=2, frozen=True)
    tower = fresh_tower(world, MODEL.model_copy(update={"image": image})).eval()
    cached = prepared(world, tower, tmp_path)
    rows = np.arange(20, dtype=np.int32)
    assert cached.inputs(rows).images.shape == (20, 32)
    with torch.inference_mode():
        by_states, by_pixels = tower(cached.inputs(rows)), tower(items.inputs(rows))
    torch.testing.assert_close(by_states["fused"], by_pixels["fused"], atol=2e-3, rtol=0)


def test_items_without_the_vectors_a_tower_reads_are_refused(world: Dataset, tmp_path: Path) -> None:
    image = ImageConfig(kind="features", width=1024)
    with pytest.raises(ConfigError, match="width 1024, the items bring none"):
        prepared(world, fresh_tower(world, MODEL.model_copy(update={"image": image})), tmp_path)


def test_a_worker_gets_its_part_of_the_very_same_batch(items: PreparedItems) -> None:
    rows = np.random.default_rng(0).integers(0, len(items), 24).astype(np.int32)
    whole, same = drawn(items, rows)
    part, same_again = drawn(items, rows, slice(8, 16))
    torch.testing.assert_close(same, same_again)
    torch.testing.assert_close(part.inputs.images, whole.inputs.images[8:16])
    torch.testing.assert_close(part.inputs.tokens, whole.inputs.tokens[8:16])
    torch.testing.assert_close(part.same, same[8:16, 8:16])


def test_another_step_is_augmented_otherwise(items: PreparedItems) -> None:
    rows = np.arange(16, dtype=np.int32)
    one, other = drawn(items, rows)[0], drawn(items, rows, step=1)[0]
    assert (one.inputs.images != other.inputs.images).float().mean() > 0.1
    plain, _ = drawn(items, rows, crop=0.0)
    mirrored = plain.inputs.images == items.inputs(rows).images.flip(3)
    still = plain.inputs.images == items.inputs(rows).images
    assert (mirrored.flatten(1).all(1) | still.flatten(1).all(1)).all()


def test_one_item_one_picture_or_one_text_are_the_same(items: PreparedItems) -> None:
    images = np.array(items.images[:6])
    images[4] = images[1]
    tokens = items.tokens[:6].copy()
    tokens[5] = tokens[2]
    has_text = items.has_text[:6].copy()
    has_image = np.ones(6, np.bool_)
    twins = replace(
        items,
        images=images,
        tokens=tokens,
        has_text=has_text,
        has_image=has_image,
        has_parts=np.zeros(6, np.bool_),  # texts stay whole
    )
    rows = np.array([0, 1, 2, 3, 4, 5, 0], np.int32)
    _, same = drawn(twins, rows)
    pairs = {tuple(pair) for pair in same.triu(1).nonzero().tolist()}
    assert pairs == {(0, 6), (1, 4), (2, 5)}


def test_captions_take_the_place_of_texts_as_often_as_asked(world: Dataset, items: PreparedItems) -> None:
    tower = fresh_tower(world)
    texts = ["one", "two", "three"]
    offsets = np.concatenate([[0, 2, 3], np.full(len(items) - 2, 3)])
    captions = Captions(texts, [None] * 3, offsets, np.array([0, 1, 2]))
    tokens = tower.text.tokens(texts)
    captioned = replace(items, captions=captions, caption_tokens=tokens)
    rows = np.array([0, 1, 2] * 200, np.int32)
    batch, _ = drawn(captioned, rows, caption_share=0.5)
    found = batch.inputs.tokens.numpy()
    first = np.array([(row == tokens[0]).all() or (row == tokens[1]).all() for row in found])
    assert first[rows == 0].mean() == pytest.approx(0.5, abs=0.12)
    assert not first[rows != 0].any()
    assert not (found[rows == 2] == tokens[2]).all(axis=1).any()
    short = batch.captions.numpy()
    assert all((row == tokens[0]).all() or (row == tokens[1]).all() for row in short[rows == 0])
    taken = (found[rows == 1] == tokens[2]).all(axis=1)
    np.testing.assert_array_equal(batch.has_caption.numpy()[rows == 1], ~taken)  # a text is no caption of itself
