"""Artifacts: directories with a manifest, written beside their final name and renamed when whole.

``<home>/<kind>/<key>/manifest.json``; *key* hashes what the artifact is made from: kind, version, config, parents.
So a stage whose inputs are unchanged finds its output already there and is skipped; ``<home>/<kind>/CURRENT`` names the
artifact in use. Unfinished work stands in ``<home>/<kind>/.work-<key>``: a killed job finds it there and goes on.
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


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(file: Path, text: str) -> None:
    """Replace ``file`` so that a reader sees the old or the new text, never a part."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(file)


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
        pointer = self.home / kind / CURRENT
        if not pointer.exists():
            raise ArtifactError(
                f"There is no {kind} in {self.home}.", "Run `recsys quickstart`, or the stage that makes it, first."
            )
        return Artifact.open(self.home / kind / pointer.read_text().strip())

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
        artifact, built = self.find(kind, key), False
        if artifact is None:
            work = self.home / kind / f".work-{key}"
            work.mkdir(parents=True, exist_ok=True)
            with _locked(work.with_name(f".lock-{key}"), kind):
                artifact = self.find(kind, key)
                if artifact is not None:  # another process has just published it
                    shutil.rmtree(work)
                else:
                    started = time.perf_counter()
                    made = {"metrics": dict(builder(work)), "seconds": time.perf_counter() - started}
                    artifact, built = self._publish(kind, version, key, config, parents, work, made), True
        write_atomically(self.home / kind / CURRENT, key)
        return artifact, built

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
        files = sorted(file for file in work.rglob("*") if file.is_file())
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
        work.rename(final)
        return Artifact(final, manifest)


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
