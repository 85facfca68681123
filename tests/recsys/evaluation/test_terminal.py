from __future__ import annotations

import io

from rich.console import Console

from recsys.evaluation.report import EvaluationReport
from recsys.evaluation.terminal import print_report


def test_the_terminal_shows_the_same_figures_row_by_row(report: EvaluationReport) -> None:
    buffer = io.StringIO()
    print_report(report, Console(file=buffer, width=160, color_system=None))
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in buffer.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert rows == [
        ["popularity", "0.101", "0.051", "43.2%", "17%", "90"],
        ["fused", "0.303", "0.152", "43.2%", "50%", "90"],
        ["oracle", "0.606", "0.405", "43.2%", "100%", "90"],
        ["popularity", "0.000"],
        ["fused", "0.253"],
        ["oracle", "0.505"],
        ["retrieval order", "0.432", "–", "48%", "77"],
        ["ranker", "0.543", "+25.7% [+20.1%, +31.0%]", "60%", "77"],
        ["oracle", "0.905", "+109.5% [+101.1%, +119.1%]", "100%", "77"],
    ]
    assert "Labels come from clicks." in buffer.getvalue()
