"""RunConfig: one TOML file that describes a whole run, from raw data to report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from pipelines.config import merged, read_toml, validated
from pipelines.dataset import DatasetConfig
from pipelines.evaluate import EvaluationConfig
from pipelines.evaluate_tower import TowerEvaluationConfig
from pipelines.train_ranker import RankerJobConfig
from pipelines.train_tower import TowerConfig
from pipelines.train_user_tower import UserTowerJobConfig
from recsys.config import BaseConfig
from recsys.data.held_out import HeldOutConfig
from recsys.data.pairs import PairConfig
from recsys.data.splits import SplitConfig
from recsys.index.generation import IndexConfig
from recsys.index.publish import PublishConfig
from recsys.ranking.lightgbm_ranker import LightGBMRankerConfig
from recsys.retrieval.hybrid import HybridConfig
from recsys.retrieval.lexical import LexicalConfig
from recsys.serving.cascade import CascadeConfig
from recsys.towers.capfilt import CapFiltConfig
from recsys.towers.clip import ClipConfig
from recsys.towers.families import CONFIGS as CONFIGS_BY_FAMILY
from recsys.towers.families import FamilyConfig
from recsys.towers.user import UserTowerConfig
from recsys.training.trainer import TrainerConfig
from recsys.training.user_trainer import UserTrainerConfig

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {  # seconds; for tests
        "tower": {
            "width": 16,
            "text": {"max_tokens": 16, "vocab_size": 500, "width": 32, "layers": 1, "heads": 2},
            "image": {"pixels": 32, "patch": 16, "width": 32, "layers": 1, "heads": 2},
            "llm": {"max_tokens": 16, "vocab_size": 500, "width": 32, "layers": 2, "heads": 2},
            "language": {"max_tokens": 16, "vocab_size": 500, "width": 32, "layers": 2, "heads": 2},
            "qformer": {"max_tokens": 16, "vocab_size": 500, "width": 32, "layers": 2, "heads": 2, "queries": 4},
            "queue": 0,
        },
        "trainer": {"steps": 80, "optimizer": {"warmup_steps": 5}, "evaluate_every": 10},
        "ranker": {"rounds": 40, "min_rows_per_leaf": 20},
    },
    "small": {  # minutes on two cores
        "tower": {
            "width": 64,
            "text": {"max_tokens": 32, "vocab_size": 8000, "width": 128, "layers": 2, "heads": 4},
            "image": {"pixels": 80, "patch": 16, "width": 128, "layers": 3, "heads": 4},
        },
    },
    "base": {  # ViT-B/16 and BERT-base, for checkpoints of that size
        "tower": {
            "width": 256,
            "text": {"max_tokens": 128, "vocab_size": 21128, "width": 768, "layers": 12, "heads": 12},
            "image": {"pixels": 224, "patch": 16, "width": 768, "layers": 12, "heads": 12},
        },
        "trainer": {
            "steps": 20_000,
            "optimizer": {"warmup_steps": 1000, "learning_rate": 1e-4},
            "evaluate_every": 1000,
        },
    },
}


class RunConfig(BaseConfig):
    """Sections of the file. ``size`` sets the defaults of the others."""

    name: str
    size: Literal["tiny", "small", "base"] = "small"
    dataset: DatasetConfig | None = None  # not needed by the stages after the first
    split: SplitConfig = SplitConfig()
    pairs: PairConfig = PairConfig()
    held_out: HeldOutConfig | None = None  # items that no tower learns from, and that towers are judged by
    caption_languages: tuple[str, ...] | None = None  # of the captions that towers learn from; default: all
    tower: FamilyConfig = ClipConfig()
    written: Path | None = None  # captions that `recsys capfilt` wrote, to learn from
    start: Path | None = None  # a saved tower of the family to go on from
    teacher: Path | None = None  # a saved tower to distil from
    width: int | None = None  # of the vectors that are served; default: all that the tower has
    trainer: TrainerConfig = TrainerConfig()
    capfilt: CapFiltConfig = CapFiltConfig()
    index: IndexConfig = IndexConfig()
    publish: PublishConfig = PublishConfig()  # what an index must show before it is put to use
    lexical: LexicalConfig = LexicalConfig()
    hybrid: HybridConfig = HybridConfig()
    cascade: CascadeConfig = CascadeConfig()
    user_tower: UserTowerConfig | None = None  # a source beside the others, where there is such a section
    user_trainer: UserTrainerConfig = UserTrainerConfig()
    ranker: LightGBMRankerConfig = LightGBMRankerConfig()
    negatives_per_request: int | None = None
    as_new_share: float = Field(default=0.0, ge=0, lt=1)  # see `recsys.ranking.training_set.training_set`

    def tower_config(self) -> TowerConfig:
        return TowerConfig(
            model=self.tower,
            trainer=self.trainer,
            pairs=self.pairs,
            split=self.split,
            held_out=self.held_out,
            caption_languages=self.caption_languages,
            written=self.written,
            start=self.start,
            teacher=self.teacher,
        )

    def user_tower_config(self) -> UserTowerJobConfig:
        model = self.user_tower or UserTowerConfig()
        return UserTowerJobConfig(model=model, trainer=self.user_trainer, split=self.split)

    def tower_evaluation_config(self) -> TowerEvaluationConfig:
        return TowerEvaluationConfig(name=self.name)

    def ranker_config(self) -> RankerJobConfig:
        return RankerJobConfig(
            model=self.ranker,
            cascade=self.cascade,
            split=self.split,
            negatives_per_request=self.negatives_per_request,
            as_new_share=self.as_new_share,
        )

    def evaluation_config(self) -> EvaluationConfig:
        return EvaluationConfig(name=self.name, cascade=self.cascade, split=self.split)


def _known(defaults: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Those defaults that a config has a field for, table by table."""
    known: dict[str, Any] = {}
    for name, value in defaults.items():
        field = model.model_fields.get(name)
        if field is not None:
            kind = field.annotation
            if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, BaseModel):
                value = _known(value, kind)
            known[name] = value
    return known


def load_run_config(file: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a run's file: the defaults of its size, then the file, then ``overrides``.

    A path in ``dataset.mapping`` is relative to the file; ``dataset.folder`` to the working directory.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    written = read_toml(file)
    dataset = written.get("dataset")
    mapping = dataset.get("mapping") if isinstance(dataset, Mapping) else None
    if isinstance(mapping, str):
        written = merged(written, {"dataset": {"mapping": str(file.parent / mapping)}})
    settings = merged(written, overrides or {})
    settings = merged({"tower": {"family": "clip"}}, settings)
    defaults = dict(SIZES.get(str(settings.get("size", "small")), {}))
    family = CONFIGS_BY_FAMILY.get(settings["tower"]["family"], ClipConfig)
    defaults["tower"] = _known(defaults.get("tower", {}), family)
    return validated(RunConfig, merged(defaults, settings), str(file))
