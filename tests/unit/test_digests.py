"""A large file's SHA-256 is remembered by what the file is known by, and never taken for that of other bytes."""

import hashlib
import os
from pathlib import Path

import pytest

from darwinmerge.checkpoint import digests, files
from darwinmerge.checkpoint.digests import WORTH, Digests, of_user
from darwinmerge.checkpoint.files import LocalFiles
from darwinmerge.store import FileStore

NAME = "model.safetensors"


class Counting(LocalFiles):
    """A folder that counts how often it is hashed."""

    hashed = 0

    def sha256(self, name: str) -> str:
        Counting.hashed += 1
        return super().sha256(name)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Counting.hashed = 0


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are written."""
    monkeypatch.setattr(files, "SETTLED", -1)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def write(folder: Path, data: bytes) -> str:
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def digest(store: FileStore, folder: Path) -> str:
    return Digests(store).of(Counting(folder), NAME)


@pytest.mark.usefixtures("old")
def test_a_file_is_hashed_once_whoever_asks(tmp_path: Path, store: FileStore) -> None:
    expected = write(tmp_path / "model", bytes(WORTH))
    assert [digest(store, tmp_path / "model") for _ in range(3)] == [expected] * 3
    assert Counting.hashed == 1
    assert [stat.key.partition("/")[0] for stat in store.list("")] == ["digests"]


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("size", [WORTH, WORTH + 1])
def test_a_file_that_changed_is_hashed_again(tmp_path: Path, store: FileStore, size: int) -> None:
    write(tmp_path / "model", bytes(WORTH))
    digest(store, tmp_path / "model")
    before = (tmp_path / "model" / NAME).stat()
    expected = write(tmp_path / "model", b"\1" * size)
    os.utime(tmp_path / "model" / NAME, ns=(before.st_atime_ns, before.st_mtime_ns))  # its other time can't be set back
    assert digest(store, tmp_path / "model") == expected


@pytest.mark.usefixtures("old")
def test_a_file_put_in_the_place_of_another_is_hashed(tmp_path: Path, store: FileStore) -> None:
    write(tmp_path / "model", bytes(WORTH))
    digest(store, tmp_path / "model")
    expected = write(tmp_path / "other", b"\1" * WORTH)
    (tmp_path / "other" / NAME).replace(tmp_path / "model" / NAME)
    assert digest(store, tmp_path / "model") == expected


def test_a_file_that_has_just_been_written_is_not_remembered(tmp_path: Path, store: FileStore) -> None:
    write(tmp_path / "model", bytes(WORTH))
    digest(store, tmp_path / "model")
    assert list(store.list("")) == []


@pytest.mark.usefixtures("old")
def test_a_small_file_is_not_remembered(tmp_path: Path, store: FileStore) -> None:
    write(tmp_path / "model", bytes(WORTH - 1))
    digest(store, tmp_path / "model")
    assert list(store.list("")) == []


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(
    "memory", [b"{", b'{"identity": {"file": "another"}, "sha256": "0"}'], ids=["damaged", "others"]
)
def test_a_memory_that_is_none_of_this_file_is_not_believed(tmp_path: Path, store: FileStore, memory: bytes) -> None:
    expected = write(tmp_path / "model", bytes(WORTH))
    digest(store, tmp_path / "model")
    (stat,) = store.list("")
    store.path(stat.key).write_bytes(memory)
    assert digest(store, tmp_path / "model") == expected


@pytest.mark.usefixtures("old")
def test_a_store_that_does_not_answer_costs_a_reading(tmp_path: Path) -> None:
    expected = write(tmp_path / "model", bytes(WORTH))
    (tmp_path / "file").write_bytes(b"")
    assert digest(FileStore(tmp_path / "file"), tmp_path / "model") == expected


@pytest.mark.usefixtures("old")
def test_commands_by_hand_remember_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "model", bytes(WORTH))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    of_user().of(LocalFiles(tmp_path / "model"), NAME)
    assert [path.parent for path in (tmp_path / "cache").rglob("*.json")] == [tmp_path / "cache/darwin/digests"]
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    digests.of_user().of(LocalFiles(tmp_path / "model"), NAME)
    assert [path.parent for path in (tmp_path / "home").rglob("*.json")] == [tmp_path / "home/.cache/darwin/digests"]
