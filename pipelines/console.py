"""What a command says: one line per stage and, with ``--json``, one object for machines instead."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console as Terminal
from rich.console import RenderableType

from recsys.artifacts import Artifact

PLAIN_WIDTH = 120
"""Columns where there is no terminal that knows its own."""


def terminal() -> Terminal:
    """Standard output, for tables and text."""
    found = Terminal(highlight=False)
    return found if found.is_terminal else Terminal(highlight=False, width=PLAIN_WIDTH)


@dataclass
class Console:
    """Collects the outcome of a command's stages and prints it.

    Args:
        machine: print nothing but one JSON object at the end.
    """

    machine: bool = False
    outcome: dict[str, Any] = field(default_factory=dict)

    def stage(self, name: str, work: Callable[[], tuple[Artifact, bool]]) -> Artifact:
        """Run one stage and say whether it built something, in how many seconds, and where it is."""
        started = time.perf_counter()
        if not self.machine:
            sys.stderr.write(f"… {name}\n")
        artifact, built = work()
        seconds = round(time.perf_counter() - started, 1)
        self.outcome[name] = {"path": str(artifact.path), "built": built, "seconds": seconds}
        how = f"built in {seconds:.1f} s" if built else "unchanged, skipped"
        self.say(f"[green]✓[/] [bold]{name}[/] {how} → {artifact.path}")
        return artifact

    def say(self, what: RenderableType) -> None:
        """For people only."""
        if not self.machine:
            terminal().print(what, soft_wrap=True)

    def finish(self, **result: Any) -> None:
        """For machines only: everything the command found out."""
        if self.machine:
            json.dump(self.outcome | result, sys.stdout, ensure_ascii=False, default=str, indent=2)
            sys.stdout.write("\n")
