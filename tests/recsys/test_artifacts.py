import os
import shutil
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


def widths(store, kind="tower"):
    """Config of what is in use and of what was before."""
    return [store.find(kind, key).manifest.config["width"] for key in store.used_keys(kind)]


def test_rollback_returns_to_what_was_in_use_before_step_by_step(store):
    for width in (1, 2, 3, 2):
        store.build("tower", 1, Size(width=width), {}, Builder())
    assert widths(store) == [2, 3, 1]
    assert store.rollback("tower") == store.current("tower")
    assert widths(store) == [3, 1]
    assert store.build("tower", 1, Size(width=2), {}, Builder())[1] is False  # what was rolled back is still there
    assert widths(store) == [2, 3, 1]
    for left in ([3, 1], [1]):
        store.rollback("tower")
        assert widths(store) == left
    with pytest.raises(ArtifactError, match="No other tower was in use before"):
        store.rollback("tower")
    assert widths(store) == [1]


def test_rollback_refuses_what_is_damaged_and_skips_what_is_gone(store):
    artifacts = [store.build("tower", 1, Size(width=width), {}, Builder())[0] for width in (1, 2, 3)]
    shutil.rmtree(artifacts[1].path)
    (artifacts[0].path / "deep/data.txt").write_text("y")
    with pytest.raises(ArtifactError, match="differs from its manifest"):
        store.rollback("tower")
    assert store.current("tower") == artifacts[2]
    (artifacts[0].path / "deep/data.txt").write_text("x")
    assert store.rollback("tower") == artifacts[0]
    with pytest.raises(ArtifactError, match=f"There is no tower {artifacts[1].key}"):
        store.use("tower", artifacts[1].key)


def test_collecting_keeps_what_is_used_kept_or_held(store):
    artifacts = [store.build("tower", 1, Size(width=width), {}, Builder())[0] for width in range(1, 6)]
    held = artifacts[0].hold()
    (store.home / "tower/.work-abandoned").mkdir()
    assert set(store.collect("tower", keep=1)) == {artifacts[1].key, artifacts[2].key}
    assert widths(store) == [5, 4]
    assert [artifact.manifest.config["width"] for artifact in store.artifacts("tower")] == [5, 4, 1]
    artifacts[0].verify()
    os.close(held)
    store.rollback("tower")
    assert set(store.collect("tower", keep=5)) == {artifacts[0].key, artifacts[4].key}
    assert sorted(path.name for path in (store.home / "tower").iterdir()) == sorted(["CURRENT", artifacts[3].key])
    assert store.collect("other", keep=0) == []
    with pytest.raises(ArtifactError, match="has just been removed"):
        artifacts[0].hold()


def test_another_process_holds_an_artifact_until_it_ends(store):
    artifacts = [store.build("tower", 1, Size(width=width), {}, Builder())[0] for width in (1, 2)]
    program = """
        import sys, time
        from pathlib import Path
        from recsys.artifacts import Artifact
        Artifact.open(Path(sys.argv[1])).hold()
        print("held", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(artifacts[0].path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as other:
        assert other.stdout.readline() == "held\n"
        assert store.collect("tower", keep=0) == []
        other.kill()
    assert store.collect("tower", keep=0) == [artifacts[0].key]


def test_a_build_killed_before_its_rename_is_finished_by_the_next(store):
    """The manifest of the killed run stands in the work directory, and is no file of the artifact."""
    work = store.home / "tower" / f".work-{store.key_of('tower', 1, Size(), {})}"
    work.mkdir(parents=True)
    (work / "manifest.json").write_text("{}")
    artifact, _ = store.build("tower", 1, Size(), {}, Builder())
    assert list(artifact.manifest.files) == ["deep/data.txt"]
    artifact.verify()
