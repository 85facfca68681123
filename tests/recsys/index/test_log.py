from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recsys.exceptions import ArtifactError
from recsys.index.log import Change, WriteAheadLog

WIDTH = 3


def put(*ids: str) -> Change:
    return Change(list(ids), np.float32([[len(item), place, 0.5] for place, item in enumerate(ids)]))


def remove(*ids: str) -> Change:
    return Change(list(ids), None)


COMMITS = [
    [put("a", "b")],
    [remove("a"), put("手冲咖啡", "x" * 300)],
    [put("b")],
    [remove("never there", "b"), remove()],
]


def plain(changes: list[Change]) -> list[tuple[list[str], list[list[float]] | None]]:
    return [(list(one.ids), None if one.vectors is None else one.vectors.tolist()) for one in changes]


def content(log: WriteAheadLog, after: int = 0) -> list[tuple[int, object]]:
    return [(sequence, plain(changes)) for sequence, changes in log.replay(after)]


EXPECTED = [(number, plain(changes)) for number, changes in enumerate(COMMITS, 1)]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder whose log holds the four commits in one file."""
    log = WriteAheadLog(tmp_path, WIDTH)
    assert [log.append(changes) for changes in COMMITS] == [1, 2, 3, 4]
    log.close()
    return tmp_path


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.log")
    return file


def frame_ends(folder: Path) -> list[int]:
    log = WriteAheadLog(folder, WIDTH)
    ends = [frame.end for frame in log._frames(only_file(folder))]
    log.close()
    return ends


def test_what_was_written_is_read_again_in_order(written: Path) -> None:
    log = WriteAheadLog(written, WIDTH)
    assert content(log) == EXPECTED
    assert content(log, after=2) == EXPECTED[2:]
    assert [sequence for sequence, _ in log.replay(1, upto=3)] == [2, 3]
    assert log.append([put("c")]) == 5
    assert content(log, after=4) == [(5, plain([put("c")]))]


def test_a_commit_cut_off_at_any_byte_is_dropped_and_those_before_it_stay(written: Path) -> None:
    file, ends = only_file(written), frame_ends(written)
    whole = file.read_bytes()
    for size in range(ends[2], ends[3]):
        file.write_bytes(whole[:size])
        log = WriteAheadLog(written, WIDTH)
        assert content(log) == EXPECTED[:3]
        assert log.append(COMMITS[3]) == 4  # and the log goes on as if nothing had happened
        assert content(log) == EXPECTED
        log.close()
        assert file.read_bytes() == whole


def test_a_file_cut_off_in_its_header_is_an_empty_log(tmp_path: Path) -> None:
    WriteAheadLog(tmp_path, WIDTH, last=7).close()
    file = only_file(tmp_path)
    header = file.read_bytes()
    for size in range(len(header)):
        file.write_bytes(header[:size])
        log = WriteAheadLog(tmp_path, WIDTH, last=7)
        assert (content(log, after=7), log.last, file.read_bytes()) == ([], 7, header)
        log.close()


@pytest.mark.parametrize("tail", [bytes(100), b"\xf5rec\xff\xff\xff\xff" + bytes(60)], ids=["zeros", "endless frame"])
def test_what_a_power_failure_leaves_at_the_end_is_cut_off(written: Path, tail: bytes) -> None:
    file = only_file(written)
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    log = WriteAheadLog(written, WIDTH)
    assert content(log) == EXPECTED
    assert file.read_bytes() == whole


@pytest.mark.parametrize("place", ["mark", "length", "checksum", "sequence", "id", "vector"])
def test_damage_before_a_whole_commit_is_an_error_that_names_the_place(written: Path, place: str) -> None:
    file, ends = only_file(written), frame_ends(written)
    start = ends[0]  # of the second commit
    offset = {"mark": 0, "length": 5, "checksum": 9, "sequence": 12, "id": 40, "vector": ends[1] - start - 2}[place]
    data = bytearray(file.read_bytes())
    data[start + offset] ^= 0x10
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{file.name} is damaged at byte {start},"):
        WriteAheadLog(written, WIDTH)
    assert file.read_bytes() == data  # nothing was cut


def test_a_torn_end_of_a_file_that_is_not_the_last_is_damage(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, WIDTH)
    log.append(COMMITS[0])
    assert log.rotate() == 1
    log.append(COMMITS[1])
    log.close()
    first = min(tmp_path.glob("*.log"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=rf"{first.name} is damaged at byte"):
        WriteAheadLog(tmp_path, WIDTH)


def test_files_are_changed_and_forgotten_by_sequence_number(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, WIDTH)
    assert log.rotate() == 0  # nothing written yet: no second file
    for changes in COMMITS[:2]:
        log.append(changes)
    assert (log.rotate(), log.rotate()) == (2, 2)
    log.append(COMMITS[2])
    assert log.rotate() == 3
    log.append(COMMITS[3])
    assert [int(file.stem) for file in sorted(tmp_path.glob("*.log"))] == [1, 3, 4]
    assert content(log) == EXPECTED
    log.forget(1)  # commit 2 stands in the same file
    assert content(log) == EXPECTED
    log.forget(2)
    assert [int(file.stem) for file in sorted(tmp_path.glob("*.log"))] == [3, 4]
    assert content(log, after=2) == EXPECTED[2:]
    log.close()
    again = WriteAheadLog(tmp_path, WIDTH, last=2)
    again.forget(4)  # the file in use stays
    assert (again.last, [int(file.stem) for file in tmp_path.glob("*.log")]) == (4, [4])
    assert again.append(COMMITS[0]) == 5


def test_a_missing_file_is_an_error_that_names_the_commit(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, WIDTH)
    for changes in COMMITS[:3]:
        log.append(changes)
        log.rotate()
    files = sorted(tmp_path.glob("*.log"))
    files[1].unlink()
    with pytest.raises(ArtifactError, match=r"Commit 2 is missing"):
        content(log)
    with pytest.raises(ArtifactError, match=r"Commit 4 is missing"):
        list(log.replay(3, upto=9))


def test_a_log_of_other_vectors_is_refused(written: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no log of vectors of width 4 \(it says 3\)"):
        WriteAheadLog(written, 4)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_a_failed_write_nothing_is_acknowledged_until_the_log_is_opened_again(written: Path) -> None:
    log = WriteAheadLog(written, WIDTH)
    with disk_of(only_file(written).stat().st_size + 20), pytest.raises(ArtifactError, match="cannot be written"):
        log.append([put("half")])
    with pytest.raises(ArtifactError, match="cannot be written"):
        log.append([put("behind the half one")])
    log.close()
    again = WriteAheadLog(written, WIDTH)
    assert content(again) == EXPECTED
    assert again.append([put("c")]) == 5
