from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.index_plan import gigabytes
from recsys.exceptions import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"), [("64GB", 64), ("64", 64), ("1.5 tb", 1500), ("512MiB", 0.536870912), ("20mb", 0.02)]
)
def test_sizes(text: str, expected: float) -> None:
    assert gigabytes(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "GB", "much", "6..4GB", "64 parsecs", "-1GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size of memory"):
        gigabytes(text)


def test_the_plan_is_printed_with_its_arithmetic_and_as_json() -> None:
    command = ["index", "plan", "--items", "1e9", "--width", "64", "--memory", "64GB"]
    printed = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "2 x 64 + 8 = 136" in printed
    assert "lists: 4 x sqrt(1,000,000,000) = 126,491" in printed
    assert "81.4 core hours" in printed
    made = json.loads(CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).stdout)
    assert made["footprint"]["kind"] == "ivf_pq"
    assert made["footprint"]["shards"] == 1
    assert {other["kind"]: other["shards"] for other in made["others"]}["ivf_fp16"] == 3
