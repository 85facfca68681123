"""WriteAheadLog: changes to an index on disk before they are acknowledged, and read again after a crash.

A log is a folder of files ``<first sequence>.log``. Each starts with a header (magic, vector width) and holds frames: a
mark, the length and CRC32 of what follows, a sequence number and the changes of one commit. A frame is on disk (fsync)
before the next is written, so only the last one can be torn, and it was never acknowledged: it is cut off. A bad frame
with a good one behind it, or a gap in the sequence, is damage, and an error.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from recsys.artifacts import sync_folder
from recsys.exceptions import ArtifactError
from recsys.types import FloatArray

logger = logging.getLogger(__name__)

MARK = b"\xf5rec"  # starts with a byte that UTF-8 never uses
FILE_HEADER = struct.Struct("<8sI")  # magic and version, width of the vectors
FILE_MAGIC = b"reclog\x00\x01"
FRAME_HEADER = struct.Struct("<4sII")  # mark, length of the body, its CRC32
SEQUENCE = struct.Struct("<Q")
CHANGE_HEADER = struct.Struct("<BI")  # kind, number of items
PUT, REMOVE = 1, 2


@dataclass(frozen=True, eq=False)
class Change:
    """One call of a writer.

    Attributes:
        ids: the items, not empty strings.
        vectors: their new vectors, float32 ``[n, d]``; ``None`` removes the items.
    """

    ids: Sequence[str]
    vectors: FloatArray | None


@dataclass(frozen=True, eq=False)
class _Frame:
    sequence: int
    changes: memoryview
    end: int  # offset behind it


class WriteAheadLog:
    """Appends frames durably and replays them.

    Not thread-safe, but for :meth:`replay`, which may run beside :meth:`append`.

    Args:
        folder: of the log files; made if it is missing.
        width: of the vectors.
        last: sequence number that an empty log goes on from.

    Raises:
        ArtifactError: a file is of another width, damaged, or missing between others.
    """

    def __init__(self, folder: Path, width: int, last: int = 0) -> None:
        self._folder = folder
        self._width = width
        self._broken: OSError | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.last, end, files = last, 0, self._files()
        for file in files:
            end = FILE_HEADER.size if file.stat().st_size >= FILE_HEADER.size else 0
            for frame in self._frames(file):
                self.last, end = max(frame.sequence, self.last), frame.end
        if files:
            _cut(files[-1], end)
        whole = files and end
        self._stream = os.open(files[-1], os.O_WRONLY | os.O_APPEND) if whole else self._start(self.last + 1)

    def append(self, changes: Sequence[Change]) -> int:
        """Write one commit and wait until it is on disk; returns its sequence number.

        Raises:
            ArtifactError: it could not be written, or an earlier one could not: what is on disk is then unknown.
        """
        if self._broken is not None:
            raise self._refusal(self._broken)
        body = SEQUENCE.pack(self.last + 1) + b"".join(_encode(change, self._width) for change in changes)
        try:
            _write(self._stream, FRAME_HEADER.pack(MARK, len(body), zlib.crc32(body)) + body)
            os.fdatasync(self._stream)
        except OSError as error:
            self._broken = error
            raise self._refusal(error) from error
        self.last += 1
        return self.last

    def replay(self, after: int, upto: int | None = None) -> Iterator[tuple[int, list[Change]]]:
        """Commits with ``after < sequence <= upto`` (default: all that are on disk now), oldest first.

        Raises:
            ArtifactError: a file is damaged, or a commit is missing.
        """
        upto = self.last if upto is None else upto
        expected, files = after + 1, self._files()
        for file, following in zip(files, [*files[1:], None], strict=True):
            if following is not None and _first(following) <= expected:
                continue
            for frame in self._frames(file):
                if frame.sequence > expected:
                    raise _gap(expected, file)
                if frame.sequence == expected:
                    yield expected, _decode(frame.changes, self._width)
                    expected += 1
                if expected > upto:  # what follows may be in the middle of being written
                    return
        if expected <= upto:
            raise _gap(expected, self._folder)

    def rotate(self) -> int:
        """Let later commits go to a new file; returns the last sequence number before it."""
        if _first(self._files()[-1]) <= self.last:
            stream, self._stream = self._stream, self._start(self.last + 1)
            os.close(stream)
        return self.last

    def forget(self, upto: int) -> None:
        """Delete the files that hold only commits up to a sequence number."""
        files = self._files()
        for file, following in pairwise(files):
            if _first(following) <= upto + 1:
                file.unlink()
        sync_folder(self._folder)

    def close(self) -> None:
        stream, self._stream = self._stream, -1
        os.close(stream)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.log"))

    def _start(self, first: int) -> int:
        file = self._folder / f"{first:020d}.log"
        stream = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        _write(stream, FILE_HEADER.pack(FILE_MAGIC, self._width))
        os.fsync(stream)
        sync_folder(self._folder)
        return stream

    def _frames(self, file: Path) -> Iterator[_Frame]:
        """The frames of a file, as far as they are whole."""
        data = memoryview(file.read_bytes())
        if len(data) < FILE_HEADER.size:
            return
        magic, width = FILE_HEADER.unpack_from(data)
        if magic != FILE_MAGIC or width != self._width:
            raise ArtifactError(
                f"{file} is no log of vectors of width {self._width} (it says {width}).", "Restore it from a backup."
            )
        offset = FILE_HEADER.size
        while offset < len(data):
            body = _body(data, offset)
            if body is None:
                self._check_torn(file, data, offset)
                return
            offset += FRAME_HEADER.size + len(body)
            (sequence,) = SEQUENCE.unpack_from(body)
            yield _Frame(sequence, body[SEQUENCE.size :], offset)

    def _check_torn(self, file: Path, data: memoryview, offset: int) -> None:
        if file != self._files()[-1]:
            raise _damage(file, offset)
        whole, place = bytes(data), offset
        while (place := whole.find(MARK, place + 1)) >= 0:
            if _body(data, place) is not None:
                raise _damage(file, offset)

    def _refusal(self, error: OSError) -> ArtifactError:
        return ArtifactError(
            f"The log in {self._folder} cannot be written ({error.strerror}).",
            "Make room or repair the disk, then open the index again; what was acknowledged is kept.",
        )


def _gap(expected: int, where: Path) -> ArtifactError:
    return ArtifactError(f"Commit {expected} is missing in {where}.", "Restore the log files from a backup.")


def _damage(file: Path, offset: int) -> ArtifactError:
    return ArtifactError(
        f"{file} is damaged at byte {offset}, and holds commits behind it.", "Restore the file from a backup."
    )


def _first(file: Path) -> int:
    return int(file.stem)


def _write(stream: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


def _cut(file: Path, end: int) -> None:
    size = file.stat().st_size
    if size > end:
        logger.warning("%s: the last %d bytes are a commit that was never acknowledged; cut off.", file, size - end)
        with file.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())


def _body(data: memoryview, offset: int) -> memoryview | None:
    """What a whole frame at ``offset`` holds, ``None`` where there is no whole frame."""
    start = offset + FRAME_HEADER.size
    if start > len(data):
        return None
    mark, length, checksum = FRAME_HEADER.unpack_from(data, offset)
    body = data[start : start + length]
    whole = mark == MARK and SEQUENCE.size <= length == len(body) and zlib.crc32(body) == checksum
    return body if whole else None


def _encode(change: Change, width: int) -> bytes:
    encoded = [item.encode() for item in change.ids]
    lengths = np.array([len(item) for item in encoded], "<u4")
    kind = REMOVE if change.vectors is None else PUT
    parts = [CHANGE_HEADER.pack(kind, len(encoded)), lengths.tobytes(), *encoded]
    if change.vectors is not None:
        assert change.vectors.shape == (len(encoded), width)
        parts.append(np.ascontiguousarray(change.vectors, "<f4").tobytes())
    return b"".join(parts)


def _decode(body: memoryview, width: int) -> list[Change]:
    changes, place = [], 0
    while place < len(body):
        kind, count = CHANGE_HEADER.unpack_from(body, place)
        place += CHANGE_HEADER.size
        lengths = np.frombuffer(body, "<u4", count, place)
        place += lengths.nbytes
        ends = place + np.cumsum(lengths, dtype=np.int64)
        ids = [
            str(body[end - length : end], "utf-8") for end, length in zip(ends, lengths.astype(np.int64), strict=True)
        ]
        place = int(ends[-1]) if count else place
        vectors = None
        if kind == PUT:
            vectors = np.frombuffer(body, "<f4", count * width, place).reshape(count, width)
            place += vectors.nbytes
        changes.append(Change(ids, vectors))
    return changes
