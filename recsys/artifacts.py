"""Artifacts: directories with a manifest, written beside their final name and renamed when whole.

``<home>/<kind>/<key>/manifest.json``; *key* hashes what the artifact is made from: kind, version, config, parents.
So a stage whose inputs are unchanged finds its output already there and is skipped; ``<home>/<kind>/CURRENT`` names the
artifact in use on its first line, and those that were in use before below it, the last one first. Unfinished work
stands in ``<home>/<kind>/.work-<key>``: a killed job finds it there and goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recsys import __version__
from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError

MANIFEST = "manifest.json"
CURRENT = "CURRENT"


class Manifest(BaseConfig):
    """What an artifact is, what it was made from, and what was measured while making it."""

    kind: str
    version: int
    key: str
    config: dict[str, Any]
    parents: dict[str, str]
    files: dict[str, str]  # path inside the artifact -> sha256
    metrics: dict[str, Any]
    seconds: float  # of the run that finished it
    code_version: str
    created_at: datetime


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read the manifest of a finished artifact.

        Raises:
            ArtifactError: there is none, or it cannot be read.
        """
        try:
            return cls(path, Manifest.model_validate_json((path / MANIFEST).read_text()))
        except FileNotFoundError:
            raise ArtifactError(f"{path} is not a finished artifact (no {MANIFEST}).") from None
        except ValidationError as error:
            raise ArtifactError(
                f"{path / MANIFEST} cannot be read: {error}", "Delete the directory and rerun."
            ) from None

    @property
    def key(self) -> str:
        return self.manifest.key

    def verify(self) -> None:
        """Compare every file with the checksum in the manifest.

        Raises:
            ArtifactError: a file is missing or differs.
        """
        for name, checksum in self.manifest.files.items():
            file = self.path / name
            if not file.exists() or sha256_of(file) != checksum:
                raise ArtifactError(
                    f"{file} is missing or differs from its manifest.", "Delete the artifact and rerun."
                )

    def hold(self) -> int:
        """Keep :meth:`ArtifactStore.collect` of any process from removing it.

        Returns:
            A file descriptor; the hold ends when it is closed, or with the process.

        Raises:
            ArtifactError: it has just been removed.
        """
        try:
            descriptor = os.open(self.path / MANIFEST, os.O_RDONLY)
        except FileNotFoundError:
            raise ArtifactError(f"{self.path} has just been removed.", "Open the artifact in use now.") from None
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for a collector that has just found it idle
        if not (self.path / MANIFEST).exists():
            os.close(descriptor)
            raise ArtifactError(f"{self.path} has just been removed.", "Open the artifact in use now.")
        return descriptor


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(file: Path, text: str) -> None:
    """Replace ``file`` so that a reader sees the old or the new text, never a part, even after a power failure."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text)
    _sync(beside)
    beside.replace(file)
    _sync(file.parent)


def sync_folder(folder: Path) -> None:
    """Wait until files made, renamed and removed in a folder are so on disk."""
    _sync(folder)


def made_from(artifact: Artifact, parents: Mapping[str, Artifact], remedy: str) -> None:
    """Check that an artifact was made from these, so that rows and vectors mean the same in all of them.

    Args:
        artifact: the child.
        parents: what it should have been made from, by role.
        remedy: for the message.

    Raises:
        ArtifactError: it was made from another.
    """
    for role, parent in parents.items():
        if artifact.manifest.parents[role] != parent.key:
            kind = artifact.manifest.kind
            raise ArtifactError(f"The {kind} in use was made from another {role} than the one in use.", remedy)


@dataclass(frozen=True)
class ArtifactStore:
    """The home folder: all artifacts of one installation."""

    home: Path

    def key_of(self, kind: str, version: int, config: BaseConfig, parents: Mapping[str, Artifact]) -> str:
        """Hash of everything an artifact is made from."""
        made_from = {
            "kind": kind,
            "version": version,
            "config": config.model_dump(mode="json"),
            "parents": {name: parent.key for name, parent in sorted(parents.items())},
        }
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]

    def find(self, kind: str, key: str) -> Artifact | None:
        path = self.home / kind / key
        return Artifact.open(path) if (path / MANIFEST).exists() else None

    def get(self, kind: str, key: str) -> Artifact:
        """The artifact of this key.

        Raises:
            ArtifactError: it is no longer there.
        """
        return Artifact.open(self.home / kind / key)

    def current(self, kind: str) -> Artifact:
        """The artifact in use.

        Raises:
            ArtifactError: none was made yet.
        """
        keys = self.used_keys(kind)
        if not keys:
            raise ArtifactError(
                f"There is no {kind} in {self.home}.", "Run `recsys quickstart`, or the stage that makes it, first."
            )
        return Artifact.open(self.home / kind / keys[0])

    def used_keys(self, kind: str) -> list[str]:
        """Key of the artifact in use, and of those that were in use before, the last one first."""
        pointer = self.home / kind / CURRENT
        return pointer.read_text().split() if pointer.exists() else []

    def use(self, kind: str, key: str) -> None:
        """Put a finished artifact to use; the one in use until now is what :meth:`rollback` returns to.

        Raises:
            ArtifactError: there is no such artifact.
        """
        with self._pointing(kind):
            if not (self.home / kind / key / MANIFEST).exists():
                raise ArtifactError(f"There is no {kind} {key}.", "Build it again.")
            self._put_first(kind, key)

    def rollback(self, kind: str) -> Artifact:
        """Put the artifact to use that was in use before; what is in use now is forgotten as if it had never been.

        Raises:
            ArtifactError: there is none before it, or its files differ from its manifest.
        """
        with self._pointing(kind):
            keys = self.used_keys(kind)
            earlier = next((artifact for key in keys[1:] if (artifact := self.find(kind, key)) is not None), None)
            if earlier is None:
                raise ArtifactError(f"No other {kind} was in use before this one.", "Build one.")
            earlier.verify()
            self._point(kind, keys[keys.index(earlier.key) :])
            return earlier

    def artifacts(self, kind: str) -> list[Artifact]:
        """All finished artifacts of a kind, newest first."""
        found = [Artifact.open(manifest.parent) for manifest in (self.home / kind).glob(f"[!.]*/{MANIFEST}")]
        return sorted(found, key=lambda artifact: artifact.manifest.created_at, reverse=True)

    def collect(self, kind: str, keep: int) -> list[str]:
        """Remove artifacts of a kind that nothing needs: not in use, not held open, and not one to return to.

        Unfinished work that no process is at goes, too.

        Args:
            kind: which; one that no other artifact is made from.
            keep: number of earlier ones to keep for :meth:`rollback`.

        Returns:
            Keys of the artifacts removed.
        """
        with self._pointing(kind):
            keys = [key for key in self.used_keys(kind) if (self.home / kind / key).exists()][: keep + 1]
            if not keys:
                return []
            self._point(kind, keys)  # first: what it names must be there, whenever we are killed
            removed = [
                artifact.key for artifact in self.artifacts(kind) if artifact.key not in keys and _set_aside(artifact)
            ]
        for work in (self.home / kind).glob(".work-*"):
            with contextlib.suppress(ArtifactError), _locked(_lock_of(work), kind):
                shutil.rmtree(work)
        for gone in (self.home / kind).glob(".gone-*"):
            shutil.rmtree(gone, ignore_errors=True)
        return removed

    def _put_first(self, kind: str, key: str) -> None:
        keys = self.used_keys(kind)
        if keys[:1] != [key]:
            self._point(kind, [key, *(other for other in keys if other != key)])

    def _point(self, kind: str, keys: list[str]) -> None:
        write_atomically(self.home / kind / CURRENT, "\n".join(keys))

    @contextlib.contextmanager
    def _pointing(self, kind: str) -> Iterator[None]:
        """Alone, among all processes, decide what is in use and what is not needed."""
        folder = self.home / kind
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def kinds(self) -> list[str]:
        """Kinds of which this home has a current artifact."""
        return sorted(pointer.parent.name for pointer in self.home.glob(f"*/{CURRENT}"))

    def build(
        self,
        kind: str,
        version: int,
        config: BaseConfig,
        parents: Mapping[str, Artifact],
        builder: Callable[[Path], Mapping[str, Any]],
    ) -> tuple[Artifact, bool]:
        """Make an artifact, or find it made, and point ``CURRENT`` at it.

        Args:
            kind: directory under the home folder.
            version: of the algorithm; raise it when the same inputs give another result.
            config: all settings that decide the result.
            parents: the artifacts it is made from, by role.
            builder: fills a work directory and returns the metrics for the manifest. After an interruption it is called
                again with the same directory, and may use what it finds there. Names that start with a dot are its own
                scratch and are removed at the end.

        Returns:
            The artifact, and whether it was built now.

        Raises:
            ArtifactError: another process is building the same artifact.
        """
        key = self.key_of(kind, version, config, parents)
        artifact = self.find(kind, key)
        if artifact is None:
            work = self.home / kind / f".work-{key}"
            work.mkdir(parents=True, exist_ok=True)
            with _locked(_lock_of(work), kind):
                work.mkdir(exist_ok=True)  # a collector may have taken it before we had the lock
                artifact = self.find(kind, key)
                if artifact is not None:  # another process has just published it
                    shutil.rmtree(work)
                else:
                    started = time.perf_counter()
                    made = {"metrics": dict(builder(work)), "seconds": time.perf_counter() - started}
                    return self._publish(kind, version, key, config, parents, work, made), True
        self.use(kind, key)
        return artifact, False

    def _publish(
        self,
        kind: str,
        version: int,
        key: str,
        config: BaseConfig,
        parents: Mapping[str, Artifact],
        work: Path,
        made: dict[str, Any],
    ) -> Artifact:
        for scratch in work.glob(".*"):
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
        (work / MANIFEST).unlink(missing_ok=True)  # of a run that was killed just before the rename
        files = sorted(file for file in work.rglob("*") if file.is_file())
        for path in (*files, *(folder for folder in work.rglob("*") if folder.is_dir())):
            _sync(path)
        manifest = Manifest(
            kind=kind,
            version=version,
            key=key,
            config=config.model_dump(mode="json"),
            parents={name: parent.key for name, parent in parents.items()},
            files={file.relative_to(work).as_posix(): sha256_of(file) for file in files},
            **made,
            code_version=__version__,
            created_at=datetime.now(UTC),
        )
        write_atomically(work / MANIFEST, manifest.model_dump_json(indent=2))
        final = self.home / kind / key
        with self._pointing(kind):  # no collector may find it finished and not in use
            work.rename(final)
            sync_folder(final.parent)
            self._put_first(kind, key)
        return Artifact(final, manifest)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock_of(work: Path) -> Path:
    return work.with_name(work.name.replace(".work-", ".lock-", 1))


def _set_aside(artifact: Artifact) -> bool:
    """Take an artifact away from its final name, where it is whole or not there, unless someone holds it."""
    with (artifact.path / MANIFEST).open() as manifest:
        try:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        artifact.path.rename(artifact.path.with_name(f".gone-{artifact.key}"))
        return True


@contextlib.contextmanager
def _locked(file: Path, kind: str) -> Iterator[None]:
    """Hold an exclusive lock that the system releases when the process ends, however it ends."""
    while True:
        with file.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(f"Another process is building this {kind}.", "Wait for it, or stop it.") from None
            if not file.exists() or file.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                continue  # the last holder has removed the file between our opening and locking it
            try:
                yield
            finally:
                file.unlink()
            return
