"""What ``recsys index plan`` prints: the chosen kind beside the others, and the arithmetic behind it."""

from __future__ import annotations

import re
from dataclasses import asdict

from rich.table import Table

from pipelines.console import Console
from recsys.exceptions import ConfigError
from recsys.index.choice import GB
from recsys.index.plan import USABLE, IndexPlan

UNITS = {"": 1e9, "MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def gigabytes(text: str) -> float:
    """Read a size such as ``64GB``, ``512 MiB`` or ``64`` (GB).

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if found is None or found[2] not in UNITS:
        raise ConfigError(f"{text!r} is no size of memory.", "Give one such as 64GB or 512MiB.")
    return float(found[1]) * UNITS[found[2]] / GB


def show_plan(plan: IndexPlan, console: Console) -> None:
    """Print the plan, or everything in it as JSON."""
    table = Table(caption=f"in memory: what every search reads; shards: of machines filled to {USABLE:.0%}")
    for column in ("kind", "bytes a vector in memory", "in memory", "on disk", "shards"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for one in plan.others:
        style = "bold" if one == plan.footprint else None
        table.add_row(one.kind, one.arithmetic, _size(one.memory), _size(one.disk), str(one.shards), style=style)
    console.say(table)
    console.say(f"[bold]{plan.reason}[/]")
    console.say("\n".join(plan.steps))
    console.say(f"build: {plan.core_hours:,.1f} core hours in all")
    console.say(f"recall: {plan.recall}")
    console.finish(**asdict(plan))


def _size(size: float) -> str:
    return f"{size / GB:,.1f} GB" if size >= GB else f"{size / 1e6:,.0f} MB"
