"""What every store must do: objects are whole, written once, and found again by their keys."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from darwinmerge.errors import BadConfiguration, BadInput, StoreUnreachable
from darwinmerge.store import READERS, FileStore, Ref, Store, fetch, fetch_each, open_store
from darwinmerge.store.file import STALE_SECONDS
from darwinmerge.store.s3 import PART
from tests.s3 import BUCKET

KEY = "results/mri-0123456789abcdef.json"


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return open_store(f"s3://{BUCKET}/{tmp_path.name}")
    return open_store((tmp_path / "store").as_uri())


def keys(store: Store, prefix: str = "") -> list[str]:
    return [stat.key for stat in store.list(prefix)]


def test_a_created_object_is_read_back(store: Store) -> None:
    assert store.create(KEY, b"hello")
    assert store.read(KEY) == b"hello"
    head = store.head(KEY)
    assert head is not None
    assert (head.key, head.size) == (KEY, 5)


def test_an_empty_object_is_an_object(store: Store) -> None:
    assert store.create(KEY, b"")
    assert store.read(KEY) == b""
    assert keys(store) == [KEY]


def test_a_second_writer_loses_and_changes_nothing(store: Store) -> None:
    store.create(KEY, b"first")
    assert not store.create(KEY, b"second")
    assert store.read(KEY) == b"first"


def test_of_many_writers_at_once_exactly_one_wins(store: Store) -> None:
    writers = 16
    gate = threading.Barrier(writers)

    def write(number: int) -> bool:
        gate.wait()
        return store.create(KEY, f"writer {number:02d} ".encode() * 2000)

    with ThreadPoolExecutor(writers) as pool:
        won = list(pool.map(write, range(writers)))
    assert won.count(True) == 1
    assert store.read(KEY) == f"writer {won.index(True):02d} ".encode() * 2000


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 5, b"34"), (8, 99, b"89"), (4, 4, b""), (10, None, b"")],
)
def test_a_part_of_an_object_is_read_by_its_range(store: Store, start: int, stop: int | None, found: bytes) -> None:
    store.create(KEY, b"0123456789")
    assert store.read(KEY, start, stop) == found


def test_a_range_that_ends_before_it_starts_is_empty(store: Store) -> None:
    store.create(KEY, b"0123456789")
    assert store.read(KEY, 5, 3) == b""


def test_a_missing_object_is_a_key_error_and_has_no_head(store: Store) -> None:
    with pytest.raises(KeyError):
        store.read(KEY)
    assert store.head(KEY) is None


def test_a_missing_object_that_a_result_refers_to_is_bad_input(store: Store) -> None:
    with pytest.raises(BadInput, match=f"{KEY} is missing, though a result refers to it"):
        fetch(store, KEY)


def test_a_prefix_of_keys_is_no_object(store: Store) -> None:
    store.create(KEY, b"x")
    assert store.head("results") is None
    with pytest.raises(KeyError):
        store.read("results")


def test_objects_are_listed_in_order_of_keys(store: Store) -> None:
    for key in ("b/2", "a", "b/10", "b.json", "c/d/e"):
        store.create(key, key.encode())
    assert keys(store) == ["a", "b.json", "b/10", "b/2", "c/d/e"]
    assert [stat.size for stat in store.list("")] == [1, 6, 4, 3, 5]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("results/", ["results/mri-1", "results/score-1", "results/score-2"]),
        ("results/score-", ["results/score-1", "results/score-2"]),
        ("res", ["results/mri-1", "results/score-1", "results/score-2"]),
        ("rows/none", []),
        ("nothing/", []),
    ],
)
def test_a_prefix_is_any_beginning_of_a_key(store: Store, prefix: str, found: list[str]) -> None:
    for key in ("results/score-2", "results/mri-1", "rows/1", "results/score-1"):
        store.create(key, b"")
    assert keys(store, prefix) == found


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert keys(store) == []


def test_a_shard_is_written_from_its_parts_with_digest_and_size(store: Store) -> None:
    parts: list[bytes | memoryview] = [b"header", memoryview(bytes(range(200)))[10:60], b""]
    whole = b"header" + bytes(range(10, 60))
    ref = store.put_shard("children/x/model.safetensors", iter(parts))
    assert (ref.size, ref.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert store.read(ref.key) == whole


def test_a_shard_of_many_parts_is_whole_and_reported_as_it_is(store: Store) -> None:
    rng = np.random.default_rng(1)
    pieces = [rng.bytes(size) for size in (1000, PART - 1, 1, 2 * PART + 7, PART // 3)]
    whole = b"".join(pieces)
    ref = store.put_shard(KEY, iter(pieces))
    assert (ref.size, ref.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert store.read(KEY) == whole
    assert keys(store) == [KEY]


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART], ids=["below", "a part", "above", "two parts"])
def test_a_shard_about_as_large_as_a_part_of_an_upload_is_whole(store: Store, size: int) -> None:
    whole = np.random.default_rng(2).bytes(size)
    assert store.put_shard(KEY, [whole]) == Ref(key=KEY, sha256=hashlib.sha256(whole).hexdigest(), size=size)
    assert store.read(KEY) == whole


def test_a_shard_is_counted_in_bytes_whatever_the_elements_of_its_parts(store: Store) -> None:
    ref = store.put_shard(KEY, [np.zeros(2, np.uint32).data])
    assert ref.size == len(store.read(KEY)) == 8


def test_a_shard_leaves_an_existing_object_as_it_was(store: Store) -> None:
    first = store.put_shard(KEY, [b"first"])
    assert store.put_shard(KEY, [b"second"]) == first
    assert store.put_shard(KEY, [b"x" * (PART + 1)]) == first
    assert store.read(KEY) == b"first"


def test_a_shard_whose_source_fails_leaves_nothing(store: Store) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        assert keys(store) == []  # not visible before it is whole
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError, match="the source failed"):
        store.put_shard(KEY, parts())
    assert store.head(KEY) is None
    assert keys(store) == []


def test_a_deleted_object_is_gone_and_may_be_created_again(store: Store) -> None:
    store.create(KEY, b"first")
    store.delete(KEY)
    store.delete(KEY)
    assert store.head(KEY) is None
    assert store.create(KEY, b"second")


def test_a_view_is_made_anew_and_whoever_reads_meanwhile_reads_one_of_them_whole(store: Store) -> None:
    views, done = [f"writer {number} ".encode() * 2000 for number in range(4)], threading.Event()
    store.replace(KEY, views[0])

    def write(view: bytes) -> None:
        for _ in range(10):
            store.replace(KEY, view)

    def read() -> set[bytes]:
        found = {store.read(KEY)}
        while not done.is_set():
            assert store.head(KEY)
            found.add(store.read(KEY))
        return found

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        list(pool.map(write, views))
        done.set()
        assert set().union(*(reader.result() for reader in readers)) <= set(views)
    assert keys(store) == [KEY]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../outside", "a/../../b", "a//b", "a/", "./a", "a/./b", ".."])
def test_a_key_that_leads_out_of_the_store_or_has_two_spellings_is_refused(store: Store, key: str) -> None:
    for use in (store.read, store.head, store.delete, lambda key: store.create(key, b"x")):
        with pytest.raises(ValueError, match="not a key"):
            use(key)
    with pytest.raises(ValueError, match="not a key"):
        store.put_shard(key, [b"x"])


def test_small_objects_are_read_several_at_a_time_and_come_in_order(store: Store) -> None:
    names = [f"costs/{number:02}" for number in range(2 * READERS)]
    for name in names:
        store.create(name, name.encode())
    together = threading.Barrier(READERS)

    def read(key: str) -> bytes:
        together.wait(timeout=60)  # one by one they would never be so many
        return store.read(key)

    assert list(fetch_each(store, "costs/", read)) == [name.encode() for name in names]


# ---- a store in a folder


def test_what_a_killed_writer_left_is_not_listed_and_swept_when_it_is_old(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create("a", b"")
    old, young = (tmp_path / ".partial" / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half an object")
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    assert keys(store) == ["a"]
    store.create("b", b"")
    assert not old.exists()
    assert young.exists()


def test_what_a_writer_can_not_sweep_is_in_nobody_s_way(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    (tmp_path / ".partial/a folder, which unlink refuses as it does what is somebody else's").mkdir(parents=True)
    (tmp_path / ".partial/old").write_bytes(b"half an object")
    long_ago = time.time() - STALE_SECONDS - 60
    for path in (tmp_path / ".partial").iterdir():
        os.utime(path, (long_ago, long_ago))
    assert store.create(KEY, b"x")
    assert not (tmp_path / ".partial/old").exists()


def test_writing_leaves_nothing_behind_but_the_object(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create(KEY, b"x")
    store.create(KEY, b"y")
    store.put_shard(KEY, [b"z"])
    store.replace(KEY, b"w")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / KEY]


def test_a_store_is_made_with_its_first_object(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "new" / "store")
    assert keys(store) == []
    assert not (tmp_path / "new").exists()
    assert store.create(KEY, b"x")


def test_a_store_that_cannot_be_written_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreUnreachable, match=f"store {tmp_path / 'store'}, object {KEY}: Not a directory"):
        FileStore(tmp_path / "store").create(KEY, b"x")


def test_a_store_is_opened_by_path_or_file_uri(tmp_path: Path) -> None:
    open_store(str(tmp_path)).create(KEY, b"x")
    assert open_store(tmp_path.as_uri()).read(KEY) == b"x"
    spaced = FileStore(tmp_path / "my runs")
    spaced.create(KEY, b"y")
    assert open_store(spaced.uri).read(KEY) == b"y"


def test_a_store_of_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="ftp"):
        open_store("ftp://host/path")
