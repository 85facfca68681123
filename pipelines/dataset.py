"""Job: a data set, generated or read from raw files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator
from rich.table import Table

from pipelines.config import read_toml, validated
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest
from recsys.data.mapped import MappedReader
from recsys.data.mapping import Mapping
from recsys.data.reader import Reader, fingerprint
from recsys.data.world import WorldConfig, generate
from recsys.exceptions import ConfigError

KIND, VERSION = "dataset", 2


class DatasetConfig(BaseConfig):
    """Where the data comes from: a generated world, or a folder read by a mapping or by the layout it has."""

    world: WorldConfig | None = None
    folder: Path | None = None
    mapping: Path | None = None
    format: str | None = None
    ingest: IngestConfig = IngestConfig()

    @model_validator(mode="after")
    def _one_source(self) -> DatasetConfig:
        if (self.world is None) == (self.folder is None):
            raise ValueError("name either a world to generate or a folder to read")
        if self.mapping is not None and self.format is not None:
            raise ValueError("name a mapping or a format, not both")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"there is no format {self.format!r}; there are {', '.join(FORMATS)}")
        return self


class _MadeFrom(BaseConfig):
    """What decides a data set: for raw files, their names, sizes and times stand for their contents."""

    world: WorldConfig | None = None
    mapping: Mapping | None = None
    format: str | None = None
    ingest: IngestConfig | None = None
    files: str | None = None


def make_dataset(store: ArtifactStore, config: DatasetConfig) -> tuple[Artifact, bool]:
    """Generate a world, or ingest a folder.

    Raises:
        ConfigError: the folder does not exist, or the mapping is wrong.
        DataError: the files cannot be read.
    """
    if config.folder is None:
        world = config.world or WorldConfig()
        return store.build(KIND, VERSION, _MadeFrom(world=world), {}, lambda work: {"kept": generate(world, work)})
    if not config.folder.is_dir():
        raise ConfigError(f"There is no folder {config.folder}.", "Name the folder of the raw data.")
    made_from, reader = _open(config.folder, config)

    def build(work: Path) -> dict[str, Any]:
        return ingest(reader, work, config.ingest).model_dump()

    return store.build(KIND, VERSION, made_from, {}, build)


def _open(folder: Path, config: DatasetConfig) -> tuple[_MadeFrom, Reader]:
    if config.mapping is not None:
        mapping = validated(Mapping, read_toml(config.mapping), str(config.mapping))
        reader: Reader = MappedReader(folder, mapping)
        made_from = _MadeFrom(mapping=mapping, ingest=config.ingest, files=fingerprint(folder, reader.files()))
    else:
        name = config.format or detect(folder)
        reader = FORMATS[name].read(folder)
        made_from = _MadeFrom(format=name, ingest=config.ingest, files=fingerprint(folder, reader.files()))
    return made_from, reader


def ingested_table(metrics: dict[str, Any]) -> Table:
    """What was kept and what was not, for a person to read."""
    caption = f"{metrics['with_picture']:,} items with a picture, {metrics['with_text']:,} with text"
    if metrics["with_features"]:
        caption += f", {metrics['with_features']:,} with a vector of their picture"
    table = Table(title="Ingested", caption=caption)
    for column in ("table", "kept", "rejected", "reasons"):
        table.add_column(column, justify="right" if column in ("kept", "rejected") else "left")
    for name in metrics["kept"] | metrics["rejected"]:
        reasons = metrics["rejected"].get(name, {})
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
        table.add_row(name, f"{metrics['kept'].get(name, 0):,}", f"{sum(reasons.values()):,}", why)
    return table
