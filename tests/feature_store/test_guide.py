from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "feature-store.md"

CHECKS = """
assert training["ctr_here"].to_list()[0] == training["item_stats__ctr"].to_list()[0] == rows["ctr"].cast(pl.Float32)[0]
assert training["affinity__score"].cast(pl.Float64).round(6).to_list() == [0.7, 0.0, 0.0]
assert training["item_stats__ctr"].to_list()[1:] == [0.0, 0.0]
assert matrix.shape == (3, 8)
assert other.online.watermark(item_stats) == 1
print("done")
"""


def test_the_code_of_the_guide_runs_and_does_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) > 5
    script = tmp_path / "guide.py"
    script.write_text("\n".join([*blocks, CHECKS]))
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(GUIDE.parents[2])!r}); import runpy; runpy.run_path('guide.py')",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "done\n", done.stderr
