"""The files under a prefix in S3: listed once, read by ranged GETs, each only of the object that was listed.

Every GET names the ETag that the listing had, so that an object that changes in mid-run is an error and never a tensor
of two versions. One request gives some tens of MB a second, whatever the network: what counts is how many are in
flight, so there are more threads than cores, and each holds one answer at a time.
"""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from darwinmerge import s3
from darwinmerge.checkpoint.files import Stretch, sha256_of
from darwinmerge.errors import BadInput

THREADS = 16  # a block of either parent in each, and as many results: half a gigabyte
BLOCK = 1 << 23  # bytes of one GET: half as many cost a quarter more processor time, of us and of the server
REMEDY = "put back what was there, or begin a new run"


class S3Files:
    """The objects right under a prefix."""

    threads, block, piece = THREADS, BLOCK, BLOCK

    def __init__(self, uri: str) -> None:
        """List what is there.

        Raises:
            BadConfiguration: `uri` is no `s3://bucket/prefix`, or S3 doesn't let us in.
            BadInput: there is nothing under the prefix.
            StoreUnreachable: S3 doesn't answer.
        """
        self.bucket, prefix = s3.parse(uri)
        self._prefix = f"{prefix}/" if prefix else ""
        found = [
            (key.removeprefix(self._prefix), etag, size)
            for key, etag, size in s3.listed(self.bucket, self._prefix, Delimiter="/")
            if not key.endswith("/")  # what some tools put there for a folder
        ]
        if not found:
            raise BadInput(f"{self}: no such model folder: no object in it")
        self._etags = {name: etag for name, etag, _ in found}
        self.sizes: Mapping[str, int] = {name: size for name, _, size in sorted(found)}

    def __str__(self) -> str:
        """Its URI."""
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    def stretch(self, name: str, start: int, stop: int) -> Stretch:
        """See `Files.stretch`."""
        return Stretch(self.get, name, start, stop)

    def get(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of an object, by one request.

        Raises:
            BadInput: the object is not the one that was listed.
        """
        place = f"{self}/{name}"
        try:
            data = s3.get(self.bucket, self._prefix + name, start, stop, self._etags[name]) if start < stop else b""
        except KeyError:
            raise BadInput(f"{place}: the object was removed while it was in use; {REMEDY}") from None
        except BadInput as changed:
            raise BadInput(f"{changed}; {REMEDY}") from None
        if len(data) != stop - start:
            raise BadInput(f"{place}: bytes {start} to {stop} of it are missing; upload the object again")
        return data

    def sha256(self, name: str) -> str:
        """See `Files.sha256`."""
        return sha256_of(self, name)

    def vouched(self, name: str) -> str | None:
        """See `Files.vouched`: an ETag is no SHA-256."""
        return None

    def identity(self, name: str) -> dict[str, str | int]:
        """See `Files.identity`: URI, ETag and size."""
        return {"object": f"{self}/{name}", "etag": self._etags[name], "size": self.sizes[name]}

    def keep(self) -> None:
        """See `Files.keep`: nothing is."""

    def local(self, names: Collection[str]) -> Path:
        """See `Files.local`: copies in a private folder, which goes when the process ends."""
        folder = Path(self._copies.name)
        for name in names:
            if not (folder / name).exists():
                (folder / name).write_bytes(self.get(name, 0, self.sizes[name]))
        return folder

    @cached_property
    def _copies(self) -> "TemporaryDirectory[str]":
        return TemporaryDirectory(prefix="darwin-model-")
