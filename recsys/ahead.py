"""Prepare the next piece of work in a thread while the current one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def one_ahead(prepare: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """``map(prepare, pieces)`` in which each result is begun before the one in front of it is taken."""
    with ThreadPoolExecutor(1) as thread:
        pending = None
        for piece in pieces:
            following = thread.submit(prepare, piece)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
