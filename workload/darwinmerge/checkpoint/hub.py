"""The files of a model on a hub at one commit: listed once, weights read by ranged GETs, small files fetched once.

A commit never changes, so what was listed is what is read. The hub keeps large files by their SHA-256 and tells it,
so that a pin costs no reading; who wants it proved (`darwin verify`) reads every byte. Small files are held against
their own digest when they come.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from darwinmerge import hub
from darwinmerge.checkpoint.files import Stretch, sha256_of
from darwinmerge.errors import BadInput

THREADS = 16  # as for S3: what counts is how many requests are in flight
BLOCK = 1 << 23  # bytes of one GET
SMALL = 1 << 26  # bytes up to which a file that holds no weights is fetched whole
WEIGHTS = ".safetensors"


class HubFiles:
    """The files of a model at a commit."""

    threads, block, piece = THREADS, BLOCK, BLOCK

    def __init__(self, uri: str) -> None:
        """List what is there; a branch or tag is taken as the commit that it is now.

        Raises:
            BadConfiguration: `uri` is no `hf://org/name@revision`, or the hub doesn't let us in.
            BadInput: there is no such model or revision, or nothing in it.
            StoreUnreachable: the hub doesn't answer.
        """
        self.at = hub.pinned(uri)
        self._entries = hub.listed(self.at)
        if not self._entries:
            raise BadInput(f"{self}: no such model folder: no file in it")
        self.sizes: Mapping[str, int] = {name: entry.size for name, entry in sorted(self._entries.items())}
        self._reader = hub.Reader(self.at, self.sizes)
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def __str__(self) -> str:
        """Its URI, with the commit."""
        return str(self.at)

    def stretch(self, name: str, start: int, stop: int) -> Stretch:
        """See `Files.stretch`."""
        return Stretch(self.get, name, start, stop)

    def get(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of a file: of a weight file by one request, of a small one from its copy here.

        Raises:
            DarwinError: see `darwinmerge.hub.named`.
        """
        if name.endswith(WEIGHTS) or self.sizes[name] > SMALL:
            return self._reader.get(name, start, stop) if start < stop else b""
        return self._fetched(name).read_bytes()[start:stop]

    def sha256(self, name: str) -> str:
        """See `Files.sha256`."""
        return sha256_of(self, name)

    def vouched(self, name: str) -> str | None:
        """See `Files.vouched`: by Git LFS, in which a file's name is its SHA-256."""
        return self._entries[name].sha256 or None

    def identity(self, name: str) -> dict[str, str | int]:
        """See `Files.identity`: git's own digest, and size."""
        return {"blob": self._entries[name].blob, "size": self.sizes[name]}

    def keep(self) -> None:
        """See `Files.keep`: nothing is."""

    def local(self, names: Collection[str]) -> Path:
        """See `Files.local`: copies in a private folder, which goes when the process ends."""
        for name in names:
            self._fetched(name)
        return Path(self._copies.name)

    def _fetched(self, name: str) -> Path:
        """The copy of a file, fetched when it is first looked at."""
        path = Path(self._copies.name) / name
        with self._fetching[name]:
            if not path.exists():
                data = self._reader.get(name, 0, self.sizes[name])
                self._require_whole(name, data)
                path.write_bytes(data)
        return path

    def _require_whole(self, name: str, data: bytes) -> None:
        entry = self._entries[name]
        found, listed = hub.blob_of(data), entry.blob
        if entry.sha256:
            found, listed = hashlib.sha256(data).hexdigest(), entry.sha256
        if found != listed:
            raise BadInput(
                f"{self}/{name}: the hub gives another file than the commit has (digest {found[:16]}, listed "
                f"{listed[:16]}); try another HF_ENDPOINT, or download the model and give its folder"
            )

    @cached_property
    def _copies(self) -> "TemporaryDirectory[str]":
        return TemporaryDirectory(prefix="darwin-model-")
