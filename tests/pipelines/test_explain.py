from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.answers import open_engine
from pipelines.cli import app, main
from recsys.artifacts import ArtifactStore
from recsys.serving.engine import Engine
from recsys.types import UserId


@pytest.fixture(scope="module")
def engine(tiny_home: Path) -> Engine:
    return open_engine(ArtifactStore(tiny_home))


@pytest.fixture(scope="module")
def user(engine: Engine) -> UserId:
    """The user with the most different actions."""
    clicks = engine.data.events.filter(engine.data.events["event_type"] == "click")
    return UserId(clicks["user_id"].value_counts(sort=True)["user_id"][0])


def explain(home: Path, user: str, item: str, *more: str) -> str:
    arguments = ["explain", "--user", user, "--item", item, "--home", str(home), *more]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_explanation_agrees_with_the_feed(tiny_home: Path, engine: Engine, user: UserId) -> None:
    answers = engine.feed(user, 5)
    for place in (1, 5):
        answer = answers[place - 1]
        found: dict[str, Any] = json.loads(explain(tiny_home, user, answer.item_id, "-k", "5", "--json"))
        assert (found["outcome"], found["final"], found["title"]) == ("shown", place, answer.title)
        assert found["score"] == pytest.approx(answer.score, rel=1e-5)
        origins = {f"{view['source']} #{view['place']}" for view in found["views"] if view["place"]}
        assert set(answer.why.split(", ")) <= origins
        assert len(found["views"]) == 10
        assert len(found["added"]) == 8
        strengths = [abs(value) for value in found["added"].values()]
        assert strengths == sorted(strengths, reverse=True)
        assert strengths[0] > 0


def test_the_table_says_reason_sources_and_neighbours(tiny_home: Path, engine: Engine, user: UserId) -> None:
    seen = engine.recent(user, 1)[0]
    said = explain(tiny_home, user, seen)
    assert "seen before: The user has engaged with it (0 engagements since)" in said
    assert "left out" in said
    shown = engine.feed(user, 1)[0]
    said = explain(tiny_home, user, shown.item_id)
    assert "shown: It is number 1 of 10 on the slate." in said
    assert "popularity" in said
    assert "cosine 0." in said


def test_the_page_shows_the_pictures_of_the_item_and_of_its_neighbours(
    tiny_home: Path, engine: Engine, user: UserId, tmp_path: Path
) -> None:
    answer, page = engine.feed(user, 1)[0], tmp_path / "why.html"
    assert str(page) in explain(tiny_home, user, answer.item_id, "--html", str(page)).replace("\n", "")
    text = page.read_text()
    explanation = engine.explain(user, answer.item_id, 10)
    pictured = [view for view in explanation.views if view.evidence]
    assert len(pictured) >= 5
    assert text.count('<div class="request">') == len(pictured)
    assert text.count("<figure") == sum(1 + min(6, len(view.evidence)) for view in pictured)
    assert text.count("data:image/jpeg;base64,") > len(pictured)
    assert f"{answer.item_id} in the feed of {user}" in text
    assert explanation.reason in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("user", "item", "said"),
    [
        ("nobody", "n001", "There is no user 'nobody'. User ids look like 'u001'."),
        ("u001", "n999", "There is no item 'n999'. Item ids look like 'n001'."),
    ],
)
def test_an_unknown_user_or_item_ends_with_code_2(
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    user: str,
    item: str,
    said: str,
) -> None:
    command = ["recsys", "explain", "--user", user, "--item", item, "--home", str(tiny_home)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
