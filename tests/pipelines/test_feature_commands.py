from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from feature_store.definitions import Entity, FeatureView, Field
from feature_store.exceptions import DefinitionError
from feature_store.service import FeatureService
from feature_store.store import FeatureStore
from pipelines.cli import app, main
from pipelines.feature_commands import FOLDER

ITEM = Entity(name="item", key="item_id")
FIRST = FeatureView(name="item_stats", entities=(ITEM,), fields=(Field(name="ctr"),), owner="feed")
SECOND = FIRST.model_copy(update={"version": 2, "fields": (Field(name="ctr", default=0.0), Field(name="age"))})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store = FeatureStore(tmp_path / FOLDER)
    store.apply([FIRST, SECOND], [FeatureService.of("feed", [FIRST])])
    rows = pl.DataFrame({"item_id": ["a", "b"], "ctr": [0.25, 0.5]})
    store.write(FIRST, rows.with_columns(event_time=pl.datetime(2026, 1, 1)))
    store.close()
    return tmp_path


def features(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["features", *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_list_names_views_and_services(home: Path) -> None:
    found = features("list", "--home", home)
    assert [(view["name"], view["version"], view["owner"]) for view in found["views"]] == [
        ("item_stats", 1, "feed"),
        ("item_stats", 2, "feed"),
    ]
    assert found["services"] == {"feed@1": ["item_stats__ctr"]}
    text = CliRunner().invoke(app, ["features", "list", "--home", str(home)]).output
    assert "item_stats@2" in text
    assert "ctr, age" in text


def test_diff_of_two_versions_and_of_two_registries(home: Path, tmp_path: Path) -> None:
    found = features("diff", "item_stats@1", "item_stats@2", "--home", home)
    assert found["differences"] == {
        "item_stats@1 -> item_stats@2": [
            "fields.ctr.default: null -> 0.0",
            "fields.age: added",
            'order: ["ctr"] -> ["ctr", "age"]',
        ]
    }
    FeatureStore(tmp_path / "other").apply([FIRST])
    both = features("diff", home / FOLDER / "registry", tmp_path / "other" / "registry")
    assert both["differences"] == {"services/feed@1": ["removed"], "views/item_stats@2": ["removed"]}
    assert features("diff", "feed@1", "feed@1", "--home", home)["differences"] == {}
    with pytest.raises(DefinitionError, match="nothing@1 is not registered"):
        features("diff", "nothing@1", "feed@1", "--home", home)


def test_materialize_takes_what_waits_once(home: Path) -> None:
    waiting = features("freshness", "--home", home)["views"][0]
    assert (waiting["view"], waiting["rows"], waiting["waiting_rows"]) == ("item_stats@1", 2, 2)
    assert features("materialize", "--home", home)["views"][0]["stored"] == 2
    assert features("materialize", "item_stats@1", "--home", home)["views"][0]["rows"] == 0
    assert features("freshness", "--home", home)["views"][0]["waiting_rows"] == 0


def test_compact_makes_one_file_of_a_day(home: Path) -> None:
    store = FeatureStore(home / FOLDER)
    row = pl.DataFrame({"item_id": ["c"], "ctr": [0.75]}).with_columns(event_time=pl.datetime(2026, 1, 1))
    store.write(FIRST, row)
    before = store.offline.read(FIRST, store.offline.log(FIRST).files()).sort("item_id")
    store.close()
    of_first = {"view": "item_stats@1", "before": 2, "after": 1}
    assert features("compact", "--home", home)["views"] == [of_first, {"view": "item_stats@2", "before": 0, "after": 0}]
    offline = FeatureStore(home / FOLDER).offline
    assert offline.read(FIRST, offline.log(FIRST).files()).sort("item_id").equals(before)
    assert features("compact", "item_stats@1", "--home", home)["views"] == [of_first | {"before": 0, "after": 0}]


def test_statistics_writes_the_page(home: Path, tmp_path: Path) -> None:
    found = features("statistics", "--home", home, "--out", tmp_path / "page.html")
    assert "Feature statistics" in Path(found["path"]).read_text()


def test_a_mistake_ends_with_code_2_and_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recsys", "features", "materialize", "item_stats@9", "--home", str(home)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: item_stats@9 is not among the views registered")
