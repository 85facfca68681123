from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, FingerprintMismatchError
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation
from recsys.index.handle import IndexHandle, ServedIndex
from recsys.index.selection import Selection
from recsys.types import IdMap

WIDTH, ITEMS = 16, 400
INDEX = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=4, nprobe=4))


class Edition(BaseConfig):
    number: int = 0


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def vectors_of(number: int) -> np.ndarray:
    vectors = np.random.default_rng(number).standard_normal((ITEMS, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def publish(store: ArtifactStore, number: int, tower: str = "tower-a") -> Artifact:
    """Edition ``number`` has other vectors than every other and names its items after itself."""
    table = EmbeddingTable(IdMap.of(f"{number}/{row}" for row in range(ITEMS)), vectors_of(number), tower)
    built = store.build("index", 1, Edition(number=number), {}, lambda work: build_generation(table, INDEX, work))
    return built[0]


def test_a_handle_stays_with_its_generation_until_it_is_told(store: ArtifactStore) -> None:
    first = publish(store, 1)
    handle, queries = IndexHandle(store, "index"), vectors_of(1)[:3]
    before = handle.search(queries, 5, "tower-a")
    second = publish(store, 2)
    assert handle.search(queries, 5, "tower-a").key == before.key == first.key
    assert (handle.refresh(), handle.refresh()) == (True, False)
    after = handle.search(vectors_of(2)[:3], 5, "tower-a")
    assert after.key == second.key
    assert before.ids.externals(before.rows[:, 0]) == ["1/0", "1/1", "1/2"]
    assert after.ids.externals(after.rows[:, 0]) == ["2/0", "2/1", "2/2"]
    store.rollback("index")
    assert handle.refresh()
    assert handle.search(queries, 5, "tower-a").key == first.key


def test_queries_of_another_tower_are_refused_before_and_after_a_swap(store: ArtifactStore) -> None:
    publish(store, 1)
    handle, queries = IndexHandle(store, "index"), vectors_of(1)[:1]
    with pytest.raises(FingerprintMismatchError):
        handle.search(queries, 5, "tower-b")
    publish(store, 2, "tower-b")
    handle.refresh()
    handle.search(queries, 5, "tower-b")
    with pytest.raises(FingerprintMismatchError):
        handle.search(queries, 5, "tower-a")


def test_whoever_answers_from_it_may_refuse_a_generation(store: ArtifactStore) -> None:
    first = publish(store, 1)
    handle = IndexHandle(store, "index")
    served = ServedIndex(handle)
    second = publish(store, 2)

    def refuse(generation: IndexGeneration) -> None:
        raise ArtifactError(f"not {generation.ids[0]}")

    with pytest.raises(ArtifactError, match="not 2/0"):
        handle.refresh(refuse)
    assert handle.search(vectors_of(1)[:1], 1, "tower-a").key == first.key
    np.testing.assert_allclose(served.search(vectors_of(1)[:3], 1)[1], 1, rtol=1e-5)
    gc.collect()
    store.rollback("index")
    assert store.collect("index", keep=0) == [second.key]  # the refused one is not held
    publish(store, 2)
    assert handle.refresh(lambda generation: None)
    assert served.search(vectors_of(2)[:3], 1)[0].ravel().tolist() == [0, 1, 2]
    assert len(served) == ITEMS


def test_a_selection_holds(store: ArtifactStore) -> None:
    publish(store, 1)
    handle = IndexHandle(store, "index")
    allowed = np.arange(ITEMS) % 2 == 1
    rows = handle.search(vectors_of(1)[:3], 10, "tower-a", Selection(allowed)).rows
    assert (rows % 2 == 1).all()


def test_no_answer_fails_or_mixes_generations_while_they_are_exchanged(store: ArtifactStore) -> None:
    """Every item of edition n is called ``n/row`` and is its own nearest among edition n only."""
    artifacts = {publish(store, 0).key: 0}
    handle = IndexHandle(store, "index")
    stop, wrong, seen = threading.Event(), [], [set[str]() for _ in range(3)]

    def ask(own: set[str]) -> None:
        while not stop.is_set():
            served = handle.served
            number = int(served.generation.ids[0].split("/")[0])
            try:
                found = served.search(vectors_of(number)[:20], 3, "tower-a")
                other = handle.search(vectors_of(number)[:20], 3, "tower-a")
            except Exception as error:
                wrong.append(error)
                return
            if found.ids.externals(found.rows[:, 0]) != [f"{number}/{row}" for row in range(20)]:
                wrong.append((number, found))
            names = {name.split("/")[0] for rows in other.rows for name in other.ids.externals(rows)}
            if len(names) != 1 or artifacts[other.key] != int(names.pop()):
                wrong.append(other)
            own.add(found.key)

    threads = [threading.Thread(target=ask, args=(own,)) for own in seen]
    for thread in threads:
        thread.start()
    for number in range(1, 12):
        key = store.key_of("index", 1, Edition(number=number), {})
        artifacts[key] = number
        publish(store, number)
        assert handle.refresh()
        store.collect("index", keep=0)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(set().union(*seen)) > 6
    gc.collect()
    store.collect("index", keep=0)
    assert len(store.artifacts("index")) == 1  # each old one was let go of


def test_a_generation_that_is_searched_stays_on_disk_until_the_search_ends(store: ArtifactStore) -> None:
    first = publish(store, 1)
    handle = IndexHandle(store, "index")
    searching = handle.served
    publish(store, 2)
    handle.refresh()
    assert store.collect("index", keep=0) == []
    assert searching.search(vectors_of(1)[:1], 1, "tower-a").key == first.key
    del searching
    assert store.collect("index", keep=0) == [first.key]


def test_a_damaged_generation_is_refused_and_the_old_one_goes_on(store: ArtifactStore) -> None:
    first = publish(store, 1)
    handle = IndexHandle(store, "index")
    second = publish(store, 2)
    file = second.path / "index.faiss"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"index\.faiss is missing or differs"):
        handle.refresh()
    assert handle.search(vectors_of(1)[:1], 1, "tower-a").key == first.key
    store.rollback("index")
    assert store.collect("index", keep=0) == [second.key]  # the refused one is not held


def test_without_a_generation_there_is_no_handle(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="There is no index"):
        IndexHandle(store, "index")
