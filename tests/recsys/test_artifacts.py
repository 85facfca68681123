import os
import subprocess
import sys
import textwrap

import pytest

from recsys.artifacts import Artifact, ArtifactStore, sha256_of, write_atomically
from recsys.config import BaseConfig
from recsys.exceptions import ArtifactError


class Size(BaseConfig):
    width: int = 1


class Builder:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, text="x"):
        self.text = text
        self.calls = 0

    def __call__(self, work):
        self.calls += 1
        (work / "deep").mkdir(exist_ok=True)
        (work / "deep/data.txt").write_text(self.text)
        (work / ".scratch").write_text("not for keeping")
        return {"size": len(self.text)}


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "home")


def test_an_artifact_is_built_once_and_found_again(store):
    builder = Builder()
    first, built = store.build("tower", 1, Size(), {}, builder)
    again, rebuilt = store.build("tower", 1, Size(), {}, builder)
    assert (built, rebuilt, builder.calls) == (True, False, 1)
    assert first == again == store.current("tower") == store.find("tower", first.key)
    assert first.manifest.metrics == {"size": 1}
    assert first.manifest.config == {"width": 1}
    assert sorted(file.name for file in first.path.rglob("*")) == ["data.txt", "deep", "manifest.json"]
    assert first.manifest.files == {"deep/data.txt": sha256_of(first.path / "deep/data.txt")}


def test_the_key_follows_kind_version_config_and_parents(store):
    a, _ = store.build("data", 1, Size(width=1), {}, Builder())
    b, _ = store.build("data", 1, Size(width=2), {}, Builder())
    keys = [
        store.key_of("tower", 1, Size(), {"data": a}),
        store.key_of("index", 1, Size(), {"data": a}),
        store.key_of("tower", 2, Size(), {"data": a}),
        store.key_of("tower", 1, Size(width=3), {"data": a}),
        store.key_of("tower", 1, Size(), {"data": b}),
        store.key_of("tower", 1, Size(), {"other": a}),
        store.key_of("tower", 1, Size(), {}),
    ]
    assert len(set(keys)) == len(keys)
    assert store.key_of("tower", 1, Size(), {"a": a, "b": b}) == store.key_of("tower", 1, Size(), {"b": b, "a": a})
    child, _ = store.build("tower", 1, Size(), {"data": a}, Builder())
    assert child.manifest.parents == {"data": a.key}


def test_current_names_the_artifact_asked_for_last(store):
    a, _ = store.build("tower", 1, Size(width=1), {}, Builder())
    b, _ = store.build("tower", 1, Size(width=2), {}, Builder())
    assert store.current("tower") == b
    store.build("tower", 1, Size(width=1), {}, Builder())
    assert store.current("tower") == a
    assert a.path.is_dir()
    assert b.path.is_dir()
    assert store.kinds() == ["tower"]


def test_a_failed_build_leaves_nothing_published_and_its_work_for_the_next(store):
    seen = []

    def builder(work):
        seen.append(sorted(file.name for file in work.glob("[!.]*")))
        (work / "half.txt").write_text("half")
        if len(seen) == 1:
            raise RuntimeError("killed")
        return {}

    with pytest.raises(RuntimeError, match="killed"):
        store.build("tower", 1, Size(), {}, builder)
    assert (list((store.home / "tower").glob("[!.]*")), store.kinds()) == ([], [])
    artifact, built = store.build("tower", 1, Size(), {}, builder)
    assert built
    assert seen == [[], ["half.txt"]]
    assert list(artifact.manifest.files) == ["half.txt"]
    assert [path.name for path in (store.home / "tower").glob(".*")] == []


def test_two_builds_of_the_same_artifact_do_not_meet(store):
    """While one process builds, another is refused; when the first dies, the lock is free."""
    program = """
        import sys, time
        from pathlib import Path
        from recsys.artifacts import ArtifactStore
        from recsys.config import BaseConfig
        class Size(BaseConfig):
            width: int = 1
        def builder(work):
            print("building", flush=True)
            time.sleep(60)
        ArtifactStore(Path(sys.argv[1])).build("tower", 1, Size(), {}, builder)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(store.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as other:
        assert other.stdout.readline() == "building\n"
        with pytest.raises(ArtifactError, match="Another process is building this tower"):
            store.build("tower", 1, Size(), {}, Builder())
        other.kill()
    assert store.build("tower", 1, Size(), {}, Builder())[1]


def test_a_changed_or_missing_file_is_noticed(store):
    artifact, _ = store.build("tower", 1, Size(), {}, Builder())
    artifact.verify()
    (artifact.path / "deep/data.txt").write_text("y")
    with pytest.raises(ArtifactError, match=r"data\.txt is missing or differs"):
        artifact.verify()
    (artifact.path / "deep/data.txt").unlink()
    with pytest.raises(ArtifactError, match=r"data\.txt is missing or differs"):
        artifact.verify()


def test_what_is_not_there_is_named(store, tmp_path):
    with pytest.raises(ArtifactError, match="There is no tower"):
        store.current("tower")
    assert store.find("tower", "0" * 16) is None
    with pytest.raises(ArtifactError, match="not a finished artifact"):
        Artifact.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Artifact.open(tmp_path)


def test_text_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "pointer"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]
