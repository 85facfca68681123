"""Job: captions for items with poor text, written and filtered by a tower that can do both (CapFilt)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipelines.runtime import Runtime
from pipelines.train_tower import WRITTEN_CAPTIONS
from recsys import schemas
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.device import best_device
from recsys.embeddings.sight import seen_by
from recsys.exceptions import ConfigError
from recsys.towers.base import item_texts
from recsys.towers.capfilt import CapFiltConfig, Captioner, is_poor, synthesise
from recsys.towers.families import open_tower

KIND, VERSION = "captions", 1
SCHEMA = pa.schema(
    [
        pa.field(schemas.ITEM_ID, pa.string(), nullable=False),
        pa.field("caption", pa.string()),  # null where the item has no picture
        pa.field("probability", pa.float32()),  # of a match with the picture
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field(schemas.REASON, pa.string(), nullable=False),
    ]
)


def capfilt(
    store: ArtifactStore, dataset: Artifact, tower: Artifact, runtime: Runtime, config: CapFiltConfig
) -> tuple[Artifact, bool]:
    """Describe the items whose text is poor; ``captions.parquet`` holds what was written, kept or not, and why.

    An interrupted job goes on with the slices that are missing; a slice draws by its own seed, so that nothing changes.

    Raises:
        ConfigError: the tower cannot both write captions and judge them.
    """

    def build(work: Path) -> dict[str, Any]:
        parts = work / ".parts"
        parts.mkdir(exist_ok=True)
        rows = poor_rows(Dataset(dataset.path), config)
        starts = range(0, len(rows), ITEMS_PER_GROUP)
        missing = [start for start in starts if not _part(parts, start).exists()]
        worker = partial(SliceCaptioner, tower.path, dataset.path, parts, config)
        written = sum(runtime.map(worker, missing, "Writing captions"))
        tables = [pq.read_table(_part(parts, start), schema=SCHEMA) for start in starts]
        whole = pa.concat_tables([SCHEMA.empty_table(), *tables])
        pq.write_table(whole, work / WRITTEN_CAPTIONS, compression="zstd")
        reasons = Counter(whole[schemas.REASON].to_pylist())
        kept = sum(whole["kept"].to_pylist())
        return {"poor": len(rows), "kept": kept, "reasons": dict(reasons), "judged_now": written}

    require_captioner(tower.path)
    return store.build(KIND, VERSION, config, {"dataset": dataset, "tower": tower}, build)


class SliceCaptioner:
    """Describes slices of the items with poor text; made once per worker, since it loads the tower.

    Args:
        tower: directory of a saved tower.
        dataset: directory of the data set.
        parts: directory for the part files.
        config: see there.
    """

    def __init__(self, tower: Path, dataset: Path, parts: Path, config: CapFiltConfig) -> None:
        self.tower = open_tower(tower).to(best_device())
        self.dataset = Dataset(dataset)
        self.rows = poor_rows(self.dataset, config)
        self.parts = parts
        self.config = config

    def __call__(self, start: int) -> int:
        """Describe the slice that starts at place ``start`` of the poor items; returns how many it has."""
        rows = self.rows[start : start + ITEMS_PER_GROUP]
        random = torch.Generator().manual_seed(int(np.random.default_rng([self.config.seed, start]).integers(2**62)))
        found = synthesise(cast(Captioner, self.tower), seen_by(self.tower, self.dataset, rows), self.config, random)
        columns = [
            self.dataset.ids.externals(rows),
            [one.caption for one in found],
            [one.probability for one in found],
            [one.kept for one in found],
            [one.reason for one in found],
        ]
        file = _part(self.parts, start)
        partial_file = file.with_suffix(".partial")
        pq.write_table(
            pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA),
            partial_file,
        )
        partial_file.replace(file)
        return len(rows)


def poor_rows(data: Dataset, config: CapFiltConfig) -> list[int]:
    """Rows of the items whose title, hashtags and body together say too little."""
    return [row for row, text in enumerate(item_texts(data.items)) if is_poor(text, config)]


def require_captioner(tower: Path) -> None:
    """Check that a saved tower writes captions and judges them.

    Raises:
        ConfigError: it does not.
    """
    opened = open_tower(tower)
    if not {"caption", "match"} <= opened.capabilities:
        raise ConfigError(
            f"A {opened.family} tower cannot write captions and judge them.",
            "Train one that can: `recsys train-tower --family blip`.",
        )


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start}.parquet"
