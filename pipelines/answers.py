"""Opens the engine over a home folder, and shows what it answers."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from pipelines.console import Console
from pipelines.train_ranker import RankerJobConfig, learns_from_impressions, user_tower_of
from recsys.artifacts import Artifact, ArtifactStore, made_from
from recsys.data.media import ImageLimits, why_not
from recsys.exceptions import ArtifactError, ConfigError
from recsys.retrieval.hybrid import HybridConfig
from recsys.serving.cascade import CascadeConfig
from recsys.serving.engine import Answer, Engine, EnginePaths
from recsys.types import Image


def open_engine(store: ArtifactStore) -> Engine:
    """An engine over the artifacts in use.

    A ranker that does not fit them is left out, with a line on standard error: feeds then keep the retrieval order.

    Raises:
        ArtifactError: a part is missing, or was made from something else than what is in use.
    """
    dataset, tower, embeddings, index = (store.current(kind) for kind in ("dataset", "tower", "embeddings", "index"))
    made_from(embeddings, {"dataset": dataset, "tower": tower}, "Run `recsys embed` and `recsys index`.")
    made_from(index, {"embeddings": embeddings}, "Run `recsys index`.")
    width = embeddings.manifest.config["width"]
    paths = EnginePaths(dataset.path, tower.path, embeddings.path, index.path.parent, None, width, None, False)
    hybrid = HybridConfig()
    if "lexical" in store.kinds():
        lexical = store.current("lexical")
        made_from(lexical, {"dataset": dataset}, "Run `recsys index`.")
        paths, hybrid = replace(paths, lexical=lexical.path), _hybrid_settings(store, embeddings, lexical)
    if "ranker" not in store.kinds():
        return Engine(paths, CascadeConfig(), hybrid)
    ranker = store.current("ranker")
    try:
        made_from(ranker, {"dataset": dataset, "embeddings": embeddings}, "Run `recsys train-ranker`.")
        config = RankerJobConfig.model_validate(ranker.manifest.config).cascade
        user_tower = user_tower_of(store, ranker)
    except (ArtifactError, ValidationError) as error:
        reason = error if isinstance(error, ArtifactError) else "Its settings are those of another version."
        sys.stderr.write(f"note: without the ranker, feeds keep the retrieval order. {reason}\n")
        return Engine(paths, CascadeConfig(), hybrid)
    heard = user_tower.path if user_tower is not None else None
    served = replace(paths, ranker=ranker.path, user_tower=heard, logged=learns_from_impressions(ranker))
    return Engine(served, config, hybrid)


def _hybrid_settings(store: ArtifactStore, embeddings: Artifact, lexical: Artifact) -> HybridConfig:
    """With the share that was fitted to just these vectors and words; by reciprocal ranks where there is none."""
    if "hybrid" not in store.kinds():
        return HybridConfig()
    fitted = store.current("hybrid").manifest
    settings = HybridConfig.model_validate(fitted.config)
    if {"embeddings": embeddings.key, "lexical": lexical.key}.items() <= fitted.parents.items():
        return settings.model_copy(update={"share": fitted.metrics["share"]})
    return settings


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
