"""Files that are whole or not there, also after a power failure."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(file: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new text."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text)
    sync(beside)
    beside.replace(file)
    sync(file.parent)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread writes in a folder; the system ends this with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".writer", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
