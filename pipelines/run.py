"""All stages of one data set, each skipped when its inputs are unchanged."""

from __future__ import annotations

from pathlib import Path

from pipelines.build_index import build_index
from pipelines.build_lexical import build_lexical, fit_hybrid
from pipelines.capfilt import capfilt
from pipelines.console import Console
from pipelines.dataset import make_dataset
from pipelines.embed import EmbedConfig, embed
from pipelines.evaluate import evaluate
from pipelines.evaluate_tower import evaluate_tower
from pipelines.run_config import RunConfig
from pipelines.runtime import RuntimeConfig, open_runtime
from pipelines.train_ranker import train_ranker
from pipelines.train_tower import train_tower
from pipelines.train_user_tower import make_user_tower
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.dataset import Dataset
from recsys.exceptions import ConfigError


class Run:
    """The stages of one home folder under one config, each reported on the console.

    Args:
        home: the home folder.
        config: of the components.
        console: where outcomes go.
        runtime: where jobs run.
    """

    def __init__(self, home: Path, config: RunConfig, console: Console, runtime: RuntimeConfig | None = None) -> None:
        self.store = ArtifactStore(home.resolve())
        self.config = config
        self.console = console
        self.runtime = open_runtime(runtime or RuntimeConfig())

    def dataset(self) -> Artifact:
        source = self.config.dataset
        if source is None:
            raise ConfigError("The config names no data set.", "Add a [dataset] section, or use `recsys ingest`.")
        return self.console.stage("dataset", lambda: make_dataset(self.store, source))

    def tower(self, dataset: Artifact) -> Artifact:
        config = self.config.tower_config()
        return self.console.stage("tower", lambda: train_tower(self.store, dataset, config, self.runtime))

    def embeddings(self, dataset: Artifact, tower: Artifact) -> Artifact:
        config = EmbedConfig(width=self.config.width)
        return self.console.stage("embeddings", lambda: embed(self.store, dataset, tower, self.runtime, config))

    def tower_reports(self, dataset: Artifact, tower: Artifact, embeddings: Artifact) -> Artifact:
        config = self.config.tower_evaluation_config()
        return self.console.stage(
            "tower-reports", lambda: evaluate_tower(self.store, dataset, tower, embeddings, config)
        )

    def captions(self, dataset: Artifact, tower: Artifact) -> Artifact:
        work = self.config.capfilt
        return self.console.stage("captions", lambda: capfilt(self.store, dataset, tower, self.runtime, work))

    def index(self, embeddings: Artifact) -> Artifact:
        config, bounds = self.config.index, self.config.publish
        return self.console.stage("index", lambda: build_index(self.store, embeddings, config, bounds))

    def user_tower(self, dataset: Artifact, embeddings: Artifact) -> Artifact:
        config = self.config.user_tower_config()
        return self.console.stage("user-tower", lambda: make_user_tower(self.store, dataset, embeddings, config))

    def lexical(self, dataset: Artifact) -> Artifact:
        return self.console.stage("lexical", lambda: build_lexical(self.store, dataset, self.config.lexical))

    def hybrid(self, dataset: Artifact, tower: Artifact, embeddings: Artifact, lexical: Artifact) -> Artifact:
        config = self.config.hybrid
        return self.console.stage("hybrid", lambda: fit_hybrid(self.store, dataset, tower, embeddings, lexical, config))

    def ranker(self, dataset: Artifact, embeddings: Artifact, user_tower: Artifact | None = None) -> Artifact:
        config = self.config.ranker_config()
        return self.console.stage("ranker", lambda: train_ranker(self.store, dataset, embeddings, config, user_tower))

    def reports(self, dataset: Artifact, tower: Artifact, embeddings: Artifact, ranker: Artifact) -> Artifact:
        config = self.config.evaluation_config()
        return self.console.stage("reports", lambda: evaluate(self.store, dataset, tower, embeddings, ranker, config))

    def everything(self) -> Artifact | None:
        """Raw data to report; returns the report, ``None`` for a data set without events, which ends at the index."""
        dataset = self.dataset()
        tower = self.tower(dataset)
        embeddings = self.embeddings(dataset, tower)
        self.index(embeddings)
        self.hybrid(dataset, tower, embeddings, self.lexical(dataset))
        if Dataset(dataset.path).events.is_empty():
            self.console.say("There are no events to learn a ranker from. Next: [bold]recsys search TEXT[/]")
            return None
        user_tower = self.user_tower(dataset, embeddings) if self.config.user_tower is not None else None
        ranker = self.ranker(dataset, embeddings, user_tower)
        return self.reports(dataset, tower, embeddings, ranker)
