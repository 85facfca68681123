"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 5.0


def track(work: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from ``work`` while showing how far it is.

    Args:
        work: the iterable.
        description: what is being done, as a short phrase.
        total: number of steps, where ``work`` has no length of its own.
    """
    if total is None and isinstance(work, Sized):
        total = len(work)
    console = Console(stderr=True)
    if console.is_terminal:
        yield from rich_track(work, description, total=total, console=console)
        return
    last = time.monotonic()
    for done, step in enumerate(work, start=1):
        yield step
        if time.monotonic() - last > SECONDS_BETWEEN_LINES or done == total:
            last = time.monotonic()
            of = f"/{total}" if total is not None else ""
            sys.stderr.write(f"{description}: {done}{of}\n")


def say_record(record: Mapping[str, float]) -> None:
    """One line about a ``step`` of training: its other figures."""
    said = " ".join(f"{name} {value:.3f}" for name, value in record.items() if name != "step")
    sys.stderr.write(f"step {record['step']:.0f}: {said}\n")
