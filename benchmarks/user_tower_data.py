"""What bench_user_tower.py learns from: MovieLens-1M with content, the same without some events, Amazon Beauty."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import CONFIGS
from pipelines.dataset import make_dataset
from pipelines.embed import EmbedConfig, embed
from pipelines.run_config import load_run_config
from pipelines.runtime import InlineRuntime
from pipelines.train_tower import train_tower
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.data.splits import LEAVE_LAST_OUT, SplitConfig, split_events
from recsys.embeddings.encode import open_content
from recsys.embeddings.table import EmbeddingTable
from recsys.types import IdMap

CONFIG = CONFIGS / "ml1m-features.toml"
NEW_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Task:
    """Leave-last-out: what is learned from, and the last engagement of each user that is asked for."""

    before: Interactions
    test: Interactions

    @classmethod
    def of(cls, events: pl.DataFrame, ids: IdMap) -> Task:
        split = split_events(events, SplitConfig(protocol=LEAVE_LAST_OUT))
        before = Interactions.of(split.before_test, ids)
        return cls(before, Interactions.of(split.test, ids, before.users_map))


@dataclass(frozen=True, eq=False)
class MovieLens:
    """The data set and towers of its content, kept in a store.

    Attributes:
        store: of the artifacts.
        folder: of the raw data.
        overrides: of the content tower's config.
    """

    store: ArtifactStore
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Artifact:
        config = load_run_config(CONFIG, self._source).dataset
        assert config is not None
        return make_dataset(self.store, config)[0]

    def content(self, dataset: Artifact) -> EmbeddingTable:
        """Vectors by a tower that pictures, texts and the behaviour in a data set have taught."""
        config = load_run_config(CONFIG, self._source | self.overrides)
        tower, _ = train_tower(self.store, dataset, config.tower_config(), InlineRuntime())
        embeddings, _ = embed(self.store, dataset, tower, InlineRuntime(), EmbedConfig())
        return open_content(embeddings.path)

    @property
    def _source(self) -> dict[str, Any]:
        return {"dataset": {"folder": str(self.folder)}}


class _Without(BaseConfig):
    """Which items lose their events."""

    items: tuple[str, ...]


def without_events(store: ArtifactStore, dataset: Artifact, items: IdMap, gone: npt.NDArray[np.bool_]) -> Artifact:
    """The same catalogue, in which nobody has engaged with some of the items."""
    lost = tuple(str(item) for item in items.ids[gone])

    def build(work: Path) -> dict[str, Any]:
        for file in dataset.path.glob("*.parquet"):
            shutil.copyfile(file, work / file.name)
        events = pq.read_table(work / "events.parquet", schema=schemas.EVENTS)
        kept = events.filter(~pc.field(schemas.ITEM_ID).isin(lost))
        pq.write_table(kept, work / "events.parquet")
        return {"events": len(kept)}

    return store.build("dataset", 1, _Without(items=lost), {"dataset": dataset}, build)[0]


def beauty(folder: Path) -> tuple[IdMap, Task]:
    """Amazon Beauty as the BERT4Rec paper has it: items and the task."""
    with gzip.open(folder / "beauty.txt.gz") as file:
        read = pl.read_csv(file.read(), has_header=False, separator=" ", new_columns=[schemas.USER_ID, schemas.ITEM_ID])
    events = read.cast(pl.String).with_columns(
        pl.lit(None, pl.Datetime("ms")).alias(schemas.TIMESTAMP),
        pl.int_range(pl.len()).alias(schemas.ORDER),
        pl.lit("click").alias(schemas.EVENT_TYPE),
    )
    ids = IdMap.of(events[schemas.ITEM_ID].unique(maintain_order=True))
    return ids, Task.of(events, ids)
