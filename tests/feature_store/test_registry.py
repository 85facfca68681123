from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_store.definitions import Field
from feature_store.exceptions import DefinitionError
from feature_store.registry import Registry, compare
from feature_store.service import FeatureService
from feature_store.transforms import OnDemandTransform, on_demand
from tests.feature_store.declared import DAY, item_view, pair_view


def halved(ctr: np.ndarray) -> np.ndarray:
    """A docstring, a comment and an annotation are not the meaning."""
    return ctr / 2  # half


def transform(function: Any = halved, version: int = 1) -> OnDemandTransform:
    return on_demand(["item_stats__ctr"], Field(name="half_ctr"), version)(function)


def test_a_service_comes_back_from_the_files_as_it_was(tmp_path: Path) -> None:
    service = FeatureService.of(
        "feed",
        [item_view(), pair_view()],
        [transform()],
        ["half_ctr", "affinity__score"],
        version=3,
        description="Home.",
    )
    changed = Registry(tmp_path).apply(services=[service])
    assert changed == ["views/item_stats@1", "views/affinity@1", "transforms/half_ctr@1", "services/feed@3"]
    again = Registry(tmp_path).service("feed@3", [transform()])
    assert again == service
    assert again.hash == service.hash
    assert Registry(tmp_path).apply(services=[service]) == []


def test_the_files_are_readable_and_hold_the_hash_of_the_meaning(tmp_path: Path) -> None:
    view = item_view()
    Registry(tmp_path).apply([view])
    record = json.loads((tmp_path / "views/item_stats@1.json").read_text())
    assert record["hash"] == view.hash
    assert record["meaning"]["fields"]["ctr"] == {"dtype": "float32", "shape": [], "default": 0.0}
    assert record["meaning"]["ttl_seconds"] == 172800


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ttl": 3 * DAY}, "ttl_seconds: 172800.0 -> 259200.0"),
        ({"source": "another table"}, 'source: "" -> "another table"'),
        (
            {"fields": tuple(field.model_copy(update={"default": 9}) for field in item_view().fields)},
            "fields.clicks.default: -1 -> 9",
        ),
        ({"fields": item_view().fields[:2]}, "fields.cover: removed"),
        ({"fields": item_view().fields[::-1]}, "order"),
        ({"entities": pair_view().entities}, "entities"),
    ],
)
def test_another_meaning_under_the_same_version_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    registry = Registry(tmp_path)
    registry.apply([item_view()])
    before = registry.records()
    changed = item_view().model_copy(update=change)
    with pytest.raises(DefinitionError) as caught:
        registry.apply([pair_view(), changed])
    assert named in str(caught.value)
    assert "Raise its version" in str(caught.value)
    assert registry.records() == before  # not even the view that was all right
    assert registry.apply([changed.model_copy(update={"version": 2})]) == ["views/item_stats@2"]
    with pytest.raises(DefinitionError, match="change its meaning"):
        registry.check(changed)


def test_words_and_checks_may_change(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.apply([item_view()])
    fields = tuple(field.model_copy(update={"low": -5.0, "description": "new"}) for field in item_view().fields)
    assert registry.apply([item_view(owner="feed").model_copy(update={"fields": fields})]) == ["views/item_stats@1"]
    assert registry.view("item_stats@1").owner == "feed"


def test_a_transform_may_not_change_under_its_version(tmp_path: Path) -> None:
    def halved(clicks: np.ndarray) -> np.ndarray:
        return clicks / 3

    registry, views = Registry(tmp_path), [item_view()]
    registry.apply(services=[FeatureService.of("feed", views, [transform()])])
    with pytest.raises(DefinitionError, match=r"transforms/half_ctr@1 .* clicks / 3"):
        registry.apply(services=[FeatureService.of("feed", views, [transform(halved)], version=2)])
    with pytest.raises(DefinitionError, match="change its meaning"):
        registry.service("feed@1", [transform(halved)])
    with pytest.raises(DefinitionError, match="uses transform half_ctr@1"):
        registry.service("feed@1")


def test_a_comment_is_not_the_meaning_of_a_transform() -> None:
    def halved(ctr):
        return ctr / 2

    assert transform(halved).hash == transform().hash


def test_a_transform_without_source_is_refused() -> None:
    with pytest.raises(DefinitionError, match="plain function"):
        _ = transform(lambda ctr: ctr / 2).source


def test_comparing_two_registries(tmp_path: Path) -> None:
    first, second = Registry(tmp_path / "a"), Registry(tmp_path / "b")
    first.apply([item_view(), pair_view()])
    second.apply([item_view(ttl=timedelta(hours=1)), item_view(version=2)])
    found = compare(first.records(), second.records())
    assert found.keys() == {"views/item_stats@1", "views/item_stats@2", "views/affinity@1"}
    assert found["views/affinity@1"] == ["removed"]
    assert found["views/item_stats@2"] == ["added"]
    assert "meaning.ttl_seconds: 172800.0 -> 3600.0" in found["views/item_stats@1"]
    assert compare(first.records(), first.records()) == {}


def test_what_is_not_registered_is_named_with_what_is(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.apply([item_view()])
    with pytest.raises(DefinitionError, match=r"item_stats@7 .*\(item_stats@1\)"):
        registry.view("item_stats@7")


def test_a_service_names_each_feature_once_and_only_what_there_is() -> None:
    with pytest.raises(DefinitionError, match="item_stats__nothing"):
        FeatureService.of("feed", [item_view()], features=["item_stats__nothing"])
    with pytest.raises(DefinitionError, match="twice"):
        FeatureService.of("feed", [item_view()], features=["item_stats__ctr", "item_stats__ctr"])
    with pytest.raises(DefinitionError, match="twice"):
        FeatureService.of("feed", [item_view(), item_view(version=2)])
