"""Registry: every view, transform and service that was ever declared, as files that people read and compare.

``views/<name>@<version>.json``, ``transforms/...`` and ``services/...``: what was declared and the hash of its meaning.
A version keeps its meaning for ever; descriptions, owners and the checks of a batch may change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from feature_store.definitions import FeatureView, Field
from feature_store.durable import sole_writer, write_durably
from feature_store.exceptions import DefinitionError
from feature_store.service import FeatureService
from feature_store.transforms import OnDemandTransform

VIEWS, TRANSFORMS, SERVICES = "views", "transforms", "services"


class Registry:
    """The files of one folder.

    Args:
        folder: made at the first :meth:`apply`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: set[tuple[str, str]] = set()

    def apply(self, views: Sequence[FeatureView] = (), services: Sequence[FeatureService] = ()) -> list[str]:
        """Declare views and services, with the views and transforms that the services use.

        Returns:
            What is new or has another text now, as ``views/item_stats@1``.

        Raises:
            DefinitionError: something changes its meaning under the same version; then nothing is changed.
        """
        wanted: dict[str, dict[str, Any]] = {}
        used = [view for service in services for view in service.views]
        for view in (*views, *used):
            _put(wanted, f"{VIEWS}/{view.label}", _view_record(view))
        for service in services:
            for transform in service.transforms:
                _put(wanted, f"{TRANSFORMS}/{transform.label}", _transform_record(transform))
            _put(wanted, f"{SERVICES}/{service.label}", _service_record(service))
        with sole_writer(self.folder):
            held = self.records()
            for name, record in wanted.items():
                if name in held:
                    _check_meaning(name, held[name], record)
            changed = [name for name, record in wanted.items() if held.get(name) != record]
            for name in changed:
                file = self._file(name)
                file.parent.mkdir(exist_ok=True)
                write_durably(file, json.dumps(wanted[name], indent=2, ensure_ascii=False) + "\n")
        return changed

    def check(self, view: FeatureView) -> None:
        """Make sure that a view is registered with this meaning.

        Raises:
            DefinitionError: it is not.
        """
        if (view.label, view.hash) in self._checked:
            return
        record = self._record(VIEWS, view.label)
        _check_meaning(f"{VIEWS}/{view.label}", record, _view_record(view))
        self._checked.add((view.label, view.hash))

    def view(self, label: str) -> FeatureView:
        """The view ``<name>@<version>``.

        Raises:
            DefinitionError: it is not registered.
        """
        record = self._record(VIEWS, label)
        try:
            return FeatureView.model_validate(record["definition"])
        except ValidationError as error:
            raise DefinitionError(f"{self._file(f'{VIEWS}/{label}')} cannot be read: {error}") from None

    def views(self) -> list[FeatureView]:
        """All views, by name and version."""
        return [self.view(label) for label in self._labels(VIEWS)]

    def service(self, label: str, transforms: Iterable[OnDemandTransform] = ()) -> FeatureService:
        """The service ``<name>@<version>``.

        Args:
            label: of the service.
            transforms: code is not kept in the registry: those that the service uses, of the registered meaning.

        Raises:
            DefinitionError: it is not registered, or a transform is missing or has changed.
        """
        record = self._record(SERVICES, label)
        given = {transform.label: transform for transform in transforms}
        used = []
        for name, meaning in record["meaning"]["transforms"].items():
            if name not in given:
                raise DefinitionError(f"Service {label} uses transform {name}.", "Give it when the service is opened.")
            if given[name].hash != meaning:
                _check_meaning(f"{TRANSFORMS}/{name}", self._record(TRANSFORMS, name), _transform_record(given[name]))
            used.append(given[name])
        name, version = label.split("@")
        views = tuple(self.view(view) for view in record["meaning"]["views"])
        features = tuple(record["meaning"]["features"])
        return FeatureService(name, int(version), views, tuple(used), features, record["description"])

    def records(self) -> dict[str, dict[str, Any]]:
        """Everything that is registered: ``views/item_stats@1`` -> the content of its file."""
        kinds = (VIEWS, TRANSFORMS, SERVICES)
        return {f"{kind}/{label}": self._record(kind, label) for kind in kinds for label in self._labels(kind)}

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _labels(self, kind: str) -> list[str]:
        found = [file.stem for file in (self.folder / kind).glob("[!.]*.json")]
        return sorted(found, key=lambda label: (label.split("@")[0], int(label.split("@")[1])))

    def _record(self, kind: str, label: str) -> dict[str, Any]:
        file = self._file(f"{kind}/{label}")
        try:
            record: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            known = ", ".join(self._labels(kind)) or "none"
            raise DefinitionError(
                f"{label} is not among the {kind} registered in {self.folder} ({known}).", "Apply it first."
            ) from None
        except ValueError as error:
            raise DefinitionError(f"{file} cannot be read: {error}.", "Restore it from version control.") from None
        return record


def compare(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What differs between two registries, as sentences.

    Args:
        before: of :meth:`Registry.records`.
        after: of another, or of a later state.

    Returns:
        Name of the view, transform or service -> its differences; those that differ in nothing are left out.
    """
    found = {}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            found[name] = ["added"]
        elif name not in after:
            found[name] = ["removed"]
        elif before[name] != after[name]:
            found[name] = differences(before[name], after[name])
    return found


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Where two values made of dictionaries and lists differ: ``fields.ctr.default: 0.0 -> None``."""
    if isinstance(before, dict) and isinstance(after, dict):
        parts = []
        for key in dict.fromkeys([*before, *after]):
            where = f"{place}.{key}" if place else str(key)
            if key not in before:
                parts.append(f"{where}: added")
            elif key not in after:
                parts.append(f"{where}: removed")
            else:
                parts += differences(before[key], after[key], where)
        return parts
    return [] if before == after else [f"{place}: {_short(before)} -> {_short(after)}"]


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _put(wanted: dict[str, dict[str, Any]], name: str, record: dict[str, Any]) -> None:
    if name in wanted:
        _check_meaning(name, wanted[name], record)
    wanted[name] = record


def _check_meaning(name: str, held: dict[str, Any], record: dict[str, Any]) -> None:
    if held["hash"] != record["hash"]:
        raise DefinitionError(
            f"{name} would change its meaning: {'; '.join(differences(held['meaning'], record['meaning']))}.",
            "Raise its version.",
        )


def _view_record(view: FeatureView) -> dict[str, Any]:
    return {"hash": view.hash, "meaning": view.meaning, "definition": view.model_dump(mode="json")}


def _transform_record(transform: OnDemandTransform) -> dict[str, Any]:
    output: Field = transform.output
    return {"hash": transform.hash, "meaning": transform.meaning, "output": output.model_dump(mode="json")}


def _service_record(service: FeatureService) -> dict[str, Any]:
    return {"hash": service.hash, "meaning": service.meaning, "description": service.description}
