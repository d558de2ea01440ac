"""A store in a folder of this machine.

An object is written to `.partial/`, synced, and linked to its name: `link` fails where the name exists, which
makes creation atomic and exclusive without locks, over NFS too. What a killed process leaves in `.partial/`
is swept by the next one, by age, since another runner may be writing there.
"""

import contextlib
import hashlib
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from darwinmerge.errors import FULL, DarwinError, OutOfDisk, StoreUnreachable
from darwinmerge.store.base import Ref, Stat, require_key, stored_ref

PARTIAL = ".partial/"  # what is being written; no object of the store
STALE_SECONDS = 24 * 3600
WINDOW = 16 << 20  # bytes of a large object that may wait for the disk
IN_FLIGHT = 16  # parts that wait to be hashed or written


class FileStore:
    """Objects as files under one folder."""

    def __init__(self, root: Path) -> None:
        """A store under `root`, which is made when the first object is written."""
        self.root = root.absolute()
        self.uri = self.root.as_uri()

    def path(self, key: str) -> Path:
        """The file of `key`.

        Raises:
            ValueError: the key would lead out of the folder.
        """
        require_key(key)
        return self.root / key

    def head(self, key: str) -> Stat | None:
        """See `Store.head`."""
        try:
            found = self.path(key).stat()
            return Stat(key=key, size=found.st_size) if S_ISREG(found.st_mode) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._named(error, key) from error

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Store.read`."""
        try:
            with self.path(key).open("rb") as file:
                file.seek(start)
                return file.read(-1 if stop is None else max(0, stop - start))
        except (FileNotFoundError, IsADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise self._named(error, key) from error

    def create(self, key: str, data: bytes) -> bool:
        """See `Store.create`."""
        if self.path(key).exists():
            return False
        return self._write(key, [data])[1]

    def replace(self, key: str, data: bytes) -> None:
        """See `Store.replace`."""
        self._write(key, [data], os.replace)

    def put_shard(self, key: str, parts: Iterable[bytes | memoryview]) -> Ref:
        """See `Store.put_shard`."""
        ref, created = self._write(key, parts)
        return ref if created else stored_ref(self, key)

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Store.list`."""
        folder = self.root / prefix.rpartition("/")[0]
        found = []
        for path in folder.rglob("*"):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not key.startswith(PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        found.append(Stat(key=key, size=path.stat().st_size))
        return iter(sorted(found, key=lambda stat: stat.key))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        self.path(key).unlink(missing_ok=True)

    def stale(self) -> Iterator[Stat]:
        """See `Store.stale`."""
        for path in sorted((self.root / PARTIAL).glob("*")):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if time.time() - found.st_mtime > STALE_SECONDS:
                    yield Stat(key=PARTIAL + path.name, size=found.st_size)

    def sweep(self) -> None:
        """See `Store.sweep`."""
        for stat in self.stale():
            with contextlib.suppress(OSError):  # somebody else's, where several share a folder
                self.delete(stat.key)

    def _write(
        self, key: str, parts: Iterable[bytes | memoryview], name: Callable[[Path, Path], None] = os.link
    ) -> tuple[Ref, bool]:
        """Write an object, and `name` it: `os.link` fails where there is one, `os.replace` takes its place."""
        target = self.path(key)
        partial = self.root / PARTIAL / uuid.uuid4().hex
        sha, size = hashlib.sha256(), 0
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            self.sweep()
            with (
                partial.open("wb", buffering=0) as file,
                ThreadPoolExecutor(1) as hashing,
                ThreadPoolExecutor(1) as disk,
            ):
                write, waiting = _writer(file), deque[tuple[Future[None], Future[None]]]()
                for part in parts:
                    waiting.append((hashing.submit(sha.update, part), disk.submit(write, part)))
                    size += len(part) if isinstance(part, bytes) else part.nbytes
                    if len(waiting) > IN_FLIGHT:
                        _done(waiting.popleft())
                while waiting:
                    _done(waiting.popleft())
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                name(partial, target)
                created = True
            except FileExistsError:
                created = False
            if created:
                sync_folder(target.parent)
        except OSError as error:
            raise self._named(error, key) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
        return Ref(key=key, sha256=sha.hexdigest(), size=size), created

    def _named(self, error: OSError, key: str) -> DarwinError:
        kind = OutOfDisk if error.errno in FULL else StoreUnreachable
        return kind(f"store {self.root}, object {key}: {error.strerror or error}")


def _done(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


def _writer(file: BinaryIO) -> Callable[[bytes | memoryview], None]:
    """Writes parts one after the other, window by window to the disk and out of the page cache.

    A large object would else push its parents out of that cache, and getting so many pages can take longer than the
    disk does: three seconds of a processor for 2 GB, against half a second.
    """
    written = window = 0

    def write(part: bytes | memoryview) -> None:
        nonlocal written, window
        rest = memoryview(part)
        while rest:
            count = file.write(rest)
            rest, written = rest[count:], written + count
        if written - window >= WINDOW and hasattr(os, "posix_fadvise"):
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), window, written - window, os.POSIX_FADV_DONTNEED)
            window = written

    return write


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive a power cut, as `fsync` does for a file's bytes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
