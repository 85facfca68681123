"""FeatureService: the named, versioned list of features that one model is trained with and served by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from feature_store.definitions import Entity, FeatureView, Field, hash_of
from feature_store.exceptions import DefinitionError
from feature_store.transforms import OnDemandTransform


@dataclass(frozen=True)
class FeatureService:
    """What a model sees, in its order.

    Attributes:
        name: of the model, or of what it is for.
        version: raised whenever the list changes.
        views: that are read.
        transforms: that are computed at the request, in this order; one may take the output of an earlier one.
        features: full names in the model's order.
        description: one sentence for people.
    """

    name: str
    version: int
    views: tuple[FeatureView, ...]
    transforms: tuple[OnDemandTransform, ...] = ()
    features: tuple[str, ...] = ()
    description: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        views: Sequence[FeatureView],
        transforms: Sequence[OnDemandTransform] = (),
        features: Sequence[str] | None = None,
        version: int = 1,
        description: str = "",
    ) -> FeatureService:
        """A service; by default of all features of its views and then all transforms.

        Raises:
            DefinitionError: a feature is in no view and no transform, or two share a name.
        """
        computed = [transform.name for transform in transforms]
        offered = [*(feature for view in views for feature in view.features), *computed]
        chosen = offered if features is None else list(features)
        for label, names in (("view", [view.name for view in views]), ("feature", offered), ("feature", chosen)):
            repeated = sorted({one for one in names if names.count(one) > 1})
            if repeated:
                raise DefinitionError(f"Service {name} has {label} {repeated[0]} twice.", "Name each once.")
        unknown = [feature for feature in chosen if feature not in offered]
        if unknown:
            raise DefinitionError(
                f"Service {name} asks for {unknown[0]}, which no view or transform of it has.",
                f"Name one of {', '.join(offered)}.",
            )
        service = cls(name, version, tuple(views), tuple(transforms), tuple(chosen), description)
        service._check_entities()
        return service

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def entities(self) -> dict[str, Entity]:
        """Key columns that labels and requests must bring."""
        return {entity.key: entity for view in self.views for entity in view.entities}

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Type of every feature, in the model's order."""
        known = {name: field for view in self.views for name, field in view.features.items()}
        known |= {transform.name: transform.output for transform in self.transforms}
        return {name: known[name] for name in self.features}

    def needed(self, view: FeatureView) -> dict[str, Field]:
        """Features of a view that are served or that a transform takes."""
        wanted = {*self.features, *(name for transform in self.transforms for name in transform.inputs)}
        return {name: field for name, field in view.features.items() if name in wanted}

    @property
    def meaning(self) -> dict[str, Any]:
        return {
            "views": {view.label: view.hash for view in self.views},
            "transforms": {transform.label: transform.hash for transform in self.transforms},
            "features": list(self.features),
        }

    @property
    def hash(self) -> str:
        return hash_of(self.meaning)

    def _check_entities(self) -> None:
        for view in self.views:
            for entity in view.entities:
                if self.entities[entity.key].dtype != entity.dtype:
                    raise DefinitionError(
                        f"Service {self.name} has key {entity.key} both as string and as int64.", "Declare one of them."
                    )
