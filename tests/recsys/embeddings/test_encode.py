from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.data.dataset import Dataset
from recsys.embeddings.encode import (
    ITEMS_PER_SLICE,
    SliceEncoder,
    join_parts,
    missing_slices,
    open_content,
    open_tables,
    part_file,
)
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.towers.base import ItemBatch, item_texts
from recsys.towers.clip import ClipConfig, ClipTower

MODEL = ClipConfig(
    text=TextConfig(max_tokens=16, vocab_size=500, width=16, layers=1, heads=2),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
    width=8,
)


@pytest.fixture(scope="module")
def tower_dir(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tower")
    torch.manual_seed(0)
    ClipTower.create(MODEL, [text for text in item_texts(Dataset(tiny_world).items) if text]).save(path)
    return path


def test_slices_add_up_to_the_whole_catalogue(tiny_world: Path, tower_dir: Path, tmp_path: Path) -> None:
    data, tower = Dataset(tiny_world), ClipTower.load(tower_dir)
    slices = missing_slices(len(data.ids), tmp_path)
    assert slices == list(range(0, len(data.ids), ITEMS_PER_SLICE))
    encoder = SliceEncoder(tower_dir, tiny_world, tmp_path)
    assert sum(encoder(start) for start in reversed(slices)) == len(data.ids)
    join_parts(data, tmp_path, tower.fingerprint, tmp_path / "out")

    tables = open_tables(tmp_path / "out")
    whole = tower.encode_items(ItemBatch(item_texts(data.items), data.covers(range(len(data.ids)))))
    for name, table in tables.items():
        assert list(table.ids) == list(data.ids)
        assert table.fingerprint == tower.fingerprint
        np.testing.assert_allclose(table.vectors, whole[name], atol=1e-5)
    without_picture = data.items["n_images"].to_numpy() == 0
    assert without_picture.any()
    assert not tables["image"].vectors[without_picture].any()
    np.testing.assert_allclose(np.linalg.norm(tables["fused"].vectors, axis=1), 1, atol=1e-5)

    content = open_content(tmp_path / "out")
    assert content.fingerprint == tower.fingerprint
    beside = np.concatenate([whole[name] for name in ("fused", "text", "image")], axis=1)
    parts = np.where(without_picture, 2, 3)[:, None]
    np.testing.assert_allclose(content.vectors, beside / np.sqrt(parts), atol=1e-5)


def test_only_missing_slices_are_encoded_again(tiny_world: Path, tower_dir: Path, tmp_path: Path) -> None:
    encoder = SliceEncoder(tower_dir, tiny_world, tmp_path)
    encoder(ITEMS_PER_SLICE)
    part_file(tmp_path, 0).with_suffix(".partial.npy").write_bytes(b"cut off")
    assert missing_slices(len(encoder.dataset.ids), tmp_path) == [0]
