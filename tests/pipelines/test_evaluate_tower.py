"""The tower report end to end: a CLIP and a BLIP tower of the tiny world, every figure where it belongs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipelines.console import Console
from pipelines.evaluate_tower import TowerEvaluationConfig, evaluate_tower, read_tower_report
from pipelines.run import Run
from pipelines.run_config import load_run_config
from pipelines.tower_evidence import Sizes
from recsys.artifacts import Artifact, ArtifactStore
from recsys.data.dataset import Dataset
from recsys.evaluation.tower_report import FigureTable, TowerReport
from recsys.exceptions import ArtifactError
from recsys.towers.families import FAMILIES

RUN = """
name = "family"
size = "tiny"
tower.family = "{family}"
trainer = {{steps = 2, evaluate_every = 2, items_per_batch = 8, anchors_per_batch = 4, partners = 1}}
"""
CONFIG = TowerEvaluationConfig(name="tiny", sizes=Sizes(looked_at=20, anchors=40, spread=50))


def evaluated(home: Path, parents: dict[str, Artifact]) -> TowerReport:
    artifact, built = evaluate_tower(ArtifactStore(home), **parents, config=CONFIG)
    assert built
    assert not evaluate_tower(ArtifactStore(home), **parents, config=CONFIG)[1]
    return read_tower_report(artifact.path)


@pytest.fixture(scope="module")
def clip_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clip_report")


@pytest.fixture(scope="module")
def clip(tiny_home: Path, clip_home: Path) -> TowerReport:
    store = ArtifactStore(tiny_home)
    return evaluated(clip_home, {kind: store.current(kind) for kind in ("dataset", "tower", "embeddings")})


@pytest.fixture(scope="module")
def blip(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> TowerReport:
    return of_family("blip", tiny_home, tmp_path_factory.mktemp("blip_report"))


def of_family(family: str, tiny_home: Path, home: Path) -> TowerReport:
    (home / "run.toml").write_text(RUN.format(family=family))
    run = Run(home, load_run_config(home / "run.toml"), Console(machine=True))
    dataset = ArtifactStore(tiny_home).current("dataset")
    tower = run.tower(dataset)
    return evaluated(home, {"dataset": dataset, "tower": tower, "embeddings": run.embeddings(dataset, tower)})


def table(report: TowerReport, title: str) -> FigureTable:
    return next(table for table in report.tables if table.title == title)


def test_a_dual_encoder_is_asked_what_it_can_answer(clip: TowerReport, blip: TowerReport) -> None:
    titles = [table.title for table in clip.tables]
    assert titles == [
        "Text → picture",
        "Picture → text",
        "Text → item",
        "Item → item",
        "Labels without training",
        "Alignment and uniformity",
    ]
    more = [table.title for table in blip.tables if table.title not in titles]
    assert more == ["Matching of hard pairs", "Text → picture, looked at again", "Captions"]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("blip", "clip")])
def test_every_family_has_a_report(family: str, tiny_home: Path, tmp_path: Path) -> None:
    report = of_family(family, tiny_home, tmp_path)
    titles, able = {table.title for table in report.tables}, report.tower["can"].split(", ")
    assert {"Text → item", "Item → item", "Alignment and uniformity"} <= titles
    sees = any(row.name == "image-only" for row in table(report, "Item → item").rows)
    assert ("Text → picture" in titles) == sees
    assert ("Labels without training" in titles) == ("zero-shot" in able)
    assert ("Matching of hard pairs" in titles) == ("match" in able)
    assert ("Captions" in titles) == ("caption" in able)


def test_only_items_the_tower_never_learned_from_are_evaluated(clip: TowerReport, tiny_home: Path) -> None:
    data = Dataset(ArtifactStore(tiny_home).current("dataset").path)
    new = int(re.findall(r"the (\d+) items that the tower never learned from", clip.protocol)[0])
    learned = int(re.findall(r"learn from (\d+) items", " ".join(clip.notes))[0])
    assert new > 0
    assert new + learned == len(data.ids)
    own = next(row for row in table(clip, "Text → picture").rows if row.part == "own text")
    assert 0 < own.n <= new
    assert own.chance["recall@1"] == pytest.approx(1 / own.n, rel=0.05)


def test_every_language_and_every_read_out_has_its_row(clip: TowerReport) -> None:
    assert [row.part for row in table(clip, "Picture → text").rows] == ["zh", "en", "own text", "own short text"]
    items = table(clip, "Item → item")
    parts = list(dict.fromkeys(row.part for row in items.rows))
    assert parts == ["all", "short text", "cold", "new pairs"]
    assert [row.name for row in items.rows] == ["text-only", "image-only", "both"] * len(parts)
    assert [difference.leading for difference in items.differences] == [True, False, False, False]
    for row in items.rows:
        assert row.figures["recall@50"].value >= row.figures["recall@10"].value
        assert row.chance["recall@10"] == pytest.approx(10 / 299, rel=0.2)


def test_labels_are_told_by_language_beside_chance(clip: TowerReport, tiny_home: Path) -> None:
    data = Dataset(ArtifactStore(tiny_home).current("dataset").path)
    labels = table(clip, "Labels without training")
    assert [row.part for row in labels.rows] == ["en"] * 3 + ["zh"] * 3
    classes = data.items["category"].n_unique()
    assert f"among {classes}" in labels.caption
    assert labels.rows[0].chance == pytest.approx({"top-1": 1 / classes, "top-5": 5 / classes})


def test_what_a_tower_does_with_pairs_is_measured_on_as_many_as_asked_for(blip: TowerReport) -> None:
    for row in table(blip, "Matching of hard pairs").rows:
        assert row.n == 20
        halves = (row.figures["of right pairs"].value + row.figures["of wrong pairs"].value) / 2
        assert row.figures["accuracy"].value == pytest.approx(halves)
    again = table(blip, "Text → picture, looked at again")
    assert [row.name for row in again.rows] == ["cosine", "looked at again"] * 2
    captions = table(blip, "Captions")
    values = [row.figures["nll"].value for row in captions.rows]
    gains = [difference.estimate.value for difference in captions.differences]
    assert gains == pytest.approx([values[1] - values[0], values[3] - values[2]])


def test_page_and_json_stand_in_the_home_folder(clip: TowerReport, clip_home: Path) -> None:
    folder = clip_home / "tower-reports"
    assert TowerReport.model_validate(json.loads((folder / "tower_report.json").read_text())) == clip
    page = (folder / "tower_report.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 30
    for figure in [estimate for part in clip.tables for row in part.rows for estimate in row.figures.values()]:
        assert f"{figure.value:.3f}" in page


def test_vectors_of_another_tower_are_refused(tiny_home: Path, clip_home: Path) -> None:
    current = {kind: ArtifactStore(tiny_home).current(kind) for kind in ("dataset", "tower", "embeddings")}
    other = current["tower"].manifest.model_copy(update={"key": "another"})
    current["tower"] = Artifact(current["tower"].path, other)
    with pytest.raises(ArtifactError, match="another tower"):
        evaluate_tower(ArtifactStore(clip_home), **current, config=CONFIG)
