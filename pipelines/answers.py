"""Opens the engine over a home folder, and shows what it answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from pipelines.console import Console
from pipelines.train_ranker import RankerJobConfig
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.media import ImageLimits, why_not
from recsys.exceptions import ArtifactError, ConfigError
from recsys.serving.cascade import CascadeConfig
from recsys.serving.engine import Answer, Engine, EnginePaths
from recsys.types import Image


def open_engine(store: ArtifactStore) -> Engine:
    """An engine over the artifacts in use; a ranker that was made from other vectors is left out.

    Raises:
        ArtifactError: a part is missing.
    """
    dataset, tower, embeddings, index = (store.current(kind) for kind in ("dataset", "tower", "embeddings", "index"))
    ranker = store.current("ranker") if "ranker" in store.kinds() else None
    if ranker is not None and ranker.manifest.parents["embeddings"] != embeddings.key:
        ranker = None
    paths = EnginePaths(dataset.path, tower.path, embeddings.path, index.path, ranker.path if ranker else None)
    return Engine(paths, _cascade_of(ranker) if ranker else CascadeConfig())


def _cascade_of(ranker: Artifact) -> CascadeConfig:
    try:
        return RankerJobConfig.model_validate(ranker.manifest.config).cascade
    except ValidationError:
        raise ArtifactError(
            f"{ranker.path} was made by version {ranker.manifest.code_version}, whose settings have changed since.",
            "Run `recsys train-ranker` again.",
        ) from None


def show_slate(answers: list[Answer], title: str, console: Console) -> None:
    """A table of answers, or JSON."""
    console.say(slate_table(answers, title))
    console.finish(answers=[asdict(answer) for answer in answers])


def slate_table(answers: list[Answer], title: str) -> Table:
    """Answers for a person to read."""
    table = Table(title=title)
    table.add_column("#", justify="right")
    for column in ("item", "title"):
        table.add_column(column)
    table.add_column("score", justify="right")
    table.add_column("why")
    for place, answer in enumerate(answers, start=1):
        table.add_row(str(place), answer.item_id, answer.title, f"{answer.score:.3f}", answer.why)
    return table


def read_picture(file: Path) -> Image:
    """Bytes of a picture file.

    Raises:
        ConfigError: there is no such file, or it is not a picture that can be used.
    """
    try:
        image = file.read_bytes()
    except OSError:
        raise ConfigError(f"{file} cannot be read.", "Name a JPEG, PNG or WebP file.") from None
    reason = why_not(image, ImageLimits())
    if reason is not None:
        raise ConfigError(f"{file}: {reason}.", "Name a JPEG, PNG or WebP file.")
    return image
