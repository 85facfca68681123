"""Job: an item tower of any family, trained on a data set's pictures, texts and behaviour."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel

from pipelines.runtime import Runtime
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore, write_atomically
from recsys.config import BaseConfig
from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.data.held_out import HeldOutConfig, held_out_rows
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, PairConfig, mine_pairs
from recsys.data.reader import fingerprint
from recsys.data.splits import SplitConfig, split_events
from recsys.data.synthetic_captions import with_synthetic
from recsys.device import best_device
from recsys.embeddings.encode import encode_rows
from recsys.exceptions import ConfigError
from recsys.towers.abilities import Matching
from recsys.towers.base import item_texts
from recsys.towers.clip import ClipConfig
from recsys.towers.families import FamilyConfig, create_tower, open_tower
from recsys.towers.tower import Tower
from recsys.training import workers
from recsys.training.match_weight import fit_match_weight
from recsys.training.prepared import PreparedItems
from recsys.training.trainer import TrainerConfig, train
from recsys.training.validation import hold_out
from recsys.types import FloatArray, RowArray

KIND, VERSION = "tower", 4
FEATURE_CACHE = "cache/features"
METRICS_FILE = ".metrics.json"
WRITTEN_CAPTIONS = "captions.parquet"


class TowerConfig(BaseConfig):
    """Everything that decides a tower."""

    model: FamilyConfig = ClipConfig()
    trainer: TrainerConfig = TrainerConfig()
    pairs: PairConfig = PairConfig()
    split: SplitConfig = SplitConfig()
    held_out: HeldOutConfig | None = None  # items never learned from; the judged queries of the others are captions
    caption_languages: tuple[str, ...] | None = None  # of the captions to learn from; default: all
    written: Path | None = None  # captions that `recsys capfilt` wrote, to learn from beside those of people
    start: Path | None = None  # a saved tower of the family to go on from, instead of a new one
    teacher: Path | None = None  # a saved tower to distil from, see trainer.contrast.distil
    made_from: str | None = None  # filled in by the job: names, sizes and times of the files of all folders named here


def train_tower(
    store: ArtifactStore, dataset: Artifact, config: TowerConfig, runtime: Runtime
) -> tuple[Artifact, bool]:
    """Train on what lies before the ranker's labels and the test, and on nothing after it.

    Several workers share each batch and end with the same tower as one does, but for rounding.

    Raises:
        ConfigError: a folder that the config names holds no model.
    """
    folders = sorted(_folders(config))
    for folder in folders:
        if not any((folder / name).is_file() for name in ("config.json", WRITTEN_CAPTIONS)):
            raise ConfigError(f"{folder} holds no checkpoint (no config.json).", "Name a folder in the hub's format.")
    if folders:
        files = "".join(fingerprint(folder, sorted(folder.iterdir())) for folder in folders)
        config = config.model_copy(update={"made_from": files})

    def build(work: Path) -> dict[str, Any]:
        runtime.together(partial(fit, dataset.path, config, work, store.home / FEATURE_CACHE))
        return dict(json.loads((work / METRICS_FILE).read_text()))

    return store.build(KIND, VERSION, config, {"dataset": dataset}, build)


def fit(dataset: Path, config: TowerConfig, work: Path, cache: Path) -> None:
    """Train a tower and save it, as one worker of several or the only one.

    Args:
        dataset: directory of the data set.
        config: see there.
        work: directory for the tower, its checkpoints and, as ``.metrics.json``, the figures of its training.
        cache: folder for the states of frozen image encoders.
    """
    data = Dataset(dataset)
    trainable, pairs = learnable(data, config)
    captioned = trainable if config.held_out is not None else trainable[:0]
    captions = Captions.of(data, captioned, config.caption_languages)
    if config.written is not None:
        captions = with_synthetic(captions, data, pl.read_parquet(config.written / WRITTEN_CAPTIONS), trainable)
    tower = first_weights(data, trainable, captions, config)
    with workers.one_after_another():
        items = PreparedItems.prepare(data, tower, work / ".pixels.npy", cache, captions)
    progress = train(tower, items, trainable, pairs, config.trainer, work, _teacher(data, config))
    if workers.rank() > 0:
        return
    if isinstance(tower, Matching) and "match" in tower.capabilities:
        held_out, _ = hold_out(trainable, config.trainer.validation_share, config.trainer.seed)
        fit_match_weight(tower, items, held_out, config.trainer.seed)
    tower.save(work)
    metrics = {
        "family": tower.family,
        "history": progress.history,
        "kept": progress.kept,
        "skipped_steps": progress.skipped,
        "items": len(trainable),
        "pairs": len(pairs),
        "parameters": sum(parameter.numel() for parameter in tower.parameters()),
    }
    write_atomically(work / METRICS_FILE, json.dumps(metrics))


def learnable(data: Dataset, config: TowerConfig) -> tuple[RowArray, ItemPairs]:
    """Items that existed before the ranker's label window and are not held out, and the behaviour pairs of that time.

    A data set without events has no pairs; its tower learns from pictures and texts alone.
    """
    rows = np.arange(len(data.ids), dtype=np.int32)
    if config.held_out is not None:
        rows = np.setdiff1d(rows, held_out_rows(data, config.held_out))
    if data.events.is_empty():
        return rows, mine_pairs(Interactions.of(data.events, data.ids), config.pairs)
    split = split_events(data.events, config.split)
    pairs = mine_pairs(Interactions.of(split.fit, data.ids), config.pairs)
    if split.label_from is not None:
        exists = data.items.select((pl.col(schemas.CREATED_AT) < split.label_from).fill_null(True)).to_series()
        rows = rows[exists.to_numpy()[rows]]
    return rows, pairs


def first_weights(data: Dataset, trainable: RowArray, captions: Captions, config: TowerConfig) -> Tower:
    """The tower that training begins with, new or gone on from; its tokenizer knows what the tower is to write."""
    torch.manual_seed(config.trainer.seed)
    if config.start is not None:
        tower = open_tower(config.start)
        if tower.family != config.model.family:
            raise ConfigError(
                f"{config.start} holds a {tower.family} tower.", f"Name a {config.model.family} tower to go on from."
            )
        tower.adopt(config.model)
    else:
        texts = item_texts(data.items)
        categories = data.items[schemas.CATEGORY].gather(trainable).drop_nulls().unique(maintain_order=True)
        corpus = [*(text for row in trainable if (text := texts[row])), *captions.texts, *categories]
        tower = create_tower(config.model, corpus)
    return tower.to(best_device())


def _teacher(data: Dataset, config: TowerConfig) -> Mapping[str, FloatArray]:
    if config.teacher is None:
        return {}
    teacher = open_tower(config.teacher).to(best_device())
    read_outs = encode_rows(teacher, data, range(len(data.ids)))
    return {name: read_outs[name] for name in ("image", "text")}


def _folders(config: BaseModel) -> Iterator[Path]:
    """Every folder that a config or one inside it names."""
    for value in dict(config).values():
        if isinstance(value, Path):
            yield value
        elif isinstance(value, BaseModel):
            yield from _folders(value)
