"""The files of a folder, wherever it lies: what a model folder reads its bytes from.

The least that reading tensors needs, so that a folder of this machine (memory-mapped), a prefix in S3 and a model on a
hub (ranged GETs, `darwinmerge.checkpoint.s3` and `.hub`) can all do it exactly. What the files were when the folder was
opened is what they must be as long as it is read: a place that can notice a change in between raises, and gives no
other bytes.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from darwinmerge.errors import BadInput
from darwinmerge.parallel import cores, in_order

Raw = NDArray[np.uint8]
BLOCK = 1 << 22  # of a folder of this machine: mapping less takes longer than what is done with it
PIECE = 1 << 25  # smaller ones balance a few cores no better, and cost a tenth of a diagnosis
SETTLED = 2.0  # seconds after which a change of a file is sure to show in its times


class Bytes(Protocol):
    """A stretch of a file; a slice of it reads these bytes."""

    def __getitem__(self, part: slice, /) -> Raw:
        """Bytes of the stretch, read-only.

        Raises:
            BadInput: the file was changed or removed since the folder was opened.
        """


class Files(Protocol):
    """The files of one folder; what lies in folders within it is not among them."""

    sizes: Mapping[str, int]  # bytes of every file, by name
    threads: int  # how many reads at a time pay
    block: int  # bytes to read at a time, so that memory is bounded; a multiple of 2^20
    piece: int  # bytes of a tensor that one thread should read where it keeps none of them; a multiple of `block`

    def __str__(self) -> str:
        """Where the folder lies, for messages."""

    def stretch(self, name: str, start: int, stop: int) -> Bytes:
        """Bytes `start` to `stop` (exclusive) of a file, read when they are looked at."""

    def sha256(self, name: str) -> str:
        """SHA-256, in hex, of a file; reads every byte of it."""

    def vouched(self, name: str) -> str | None:
        """SHA-256, in hex, by which the place itself keeps a file; None: it doesn't, or doesn't tell."""

    def identity(self, name: str) -> dict[str, str | int] | None:
        """What tells a file with its bytes from any other without reading it; None: nothing does for sure."""

    def keep(self) -> None:
        """The same stretches will be looked at again and again: what that costs once may be kept."""

    def local(self, names: Collection[str]) -> Path:
        """A folder of this machine that holds these files at least, as long as the process lives."""


class LocalFiles:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Look at what is in it.

        Raises:
            BadInput: there is no such folder.
        """
        self.root = root
        self.threads, self.block, self.piece = cores(), BLOCK, PIECE
        if not root.is_dir():
            raise BadInput(f"{root}: no such model folder")
        found = {path.name: path.stat() for path in sorted(root.iterdir()) if path.is_file()}
        self.sizes: Mapping[str, int] = {name: stat.st_size for name, stat in found.items()}
        self._modified = {name: stat.st_mtime_ns for name, stat in found.items()}
        self._maps: dict[str, Raw] | None = None  # of whole files, where they are kept

    def __str__(self) -> str:
        """Its path."""
        return str(self.root)

    def stretch(self, name: str, start: int, stop: int) -> Raw:
        """See `Files.stretch`: a map, so that nothing is copied.

        A map of its own, so that its pages go with it, unless `keep` was asked for: a map of the whole file keeps all
        that was ever read, as long as the machine has room for it.
        """
        if start == stop:
            return np.empty(0, np.uint8)
        with self._open(name) as file:
            if self._maps is None:
                return np.asarray(np.memmap(file, np.uint8, "r", start, (stop - start,)))
            if name not in self._maps:
                self._maps[name] = np.asarray(np.memmap(file, np.uint8, "r"))
            return self._maps[name][start:stop]

    def keep(self) -> None:
        """See `Files.keep`: maps, whose pages needn't be found again."""
        self._maps = {} if self._maps is None else self._maps

    def sha256(self, name: str) -> str:
        """See `Files.sha256`."""
        with self._open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _open(self, name: str) -> BufferedReader:
        """A file, if it is still the one that was looked at: by size and time, since a mounted bucket renumbers inodes.

        Raises:
            BadInput: it isn't.
        """
        path, remedy = self.root / name, "put back what was there, or begin a new run"
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise BadInput(f"{path}: the file was removed while it was in use; {remedy}") from None
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.sizes[name], self._modified[name]):
            file.close()
            raise BadInput(f"{path}: the file was changed while it was in use; {remedy}")
        return file

    def vouched(self, name: str) -> str | None:
        """See `Files.vouched`: a disk doesn't."""
        return None

    def identity(self, name: str) -> dict[str, str | int] | None:
        """See `Files.identity`: path, inode, size and times in nanoseconds; None for a file that just changed.

        A file that changes twice within the grain of the clock has the same times with other bytes. The device's
        number is left out, since a network volume has another one on every node that mounts it.
        """
        path = (self.root / name).absolute()
        found = path.stat()
        if time.time() - max(found.st_mtime, found.st_ctime) < SETTLED:
            return None
        return {
            "file": str(path),
            "inode": found.st_ino,
            "size": found.st_size,
            "modified": found.st_mtime_ns,
            "changed": found.st_ctime_ns,
        }

    def local(self, names: Collection[str]) -> Path:
        """See `Files.local`: the folder itself."""
        return self.root


class Stretch:
    """A stretch of a file that isn't on this machine, which is asked for when it is looked at."""

    def __init__(self, get: Callable[[str, int, int], bytes], name: str, start: int, stop: int) -> None:
        """Bytes `start` to `stop` (exclusive) of the file `name`; `get` gives a part of it by one request."""
        self._get, self._name, self._start, self._stop = get, name, start, stop

    def __getitem__(self, part: slice, /) -> Raw:
        """See `Bytes`: by one request."""
        start, stop, _ = part.indices(self._stop - self._start)
        return np.frombuffer(self._get(self._name, self._start + start, self._start + stop), np.uint8)


class Remote(Protocol):
    """Files that are read by requests."""

    sizes: Mapping[str, int]
    threads: int
    block: int

    def get(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive) of a file."""


def sha256_of(files: Remote, name: str) -> str:
    """SHA-256, in hex, of a file, read by as many requests at a time as pay."""
    sha, size, block = hashlib.sha256(), files.sizes[name], files.block
    gets = (partial(files.get, name, start, min(start + block, size)) for start in range(0, size, block))
    for data in in_order(gets, files.threads):
        sha.update(data)
    return sha.hexdigest()
