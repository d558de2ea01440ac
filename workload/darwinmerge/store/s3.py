"""A store under a prefix of a bucket, in any S3 that keeps conditional writes.

`If-None-Match: *` makes creation atomic and exclusive. A server that ignores it would let the later of two writers win
without a word, so the first write of each process makes sure. A large object goes up in parts while the next ones are
computed; the server checks each against a CRC32, and no reader sees it before the last is there. What killed
processes left half uploaded is aborted by the next upload, by age, since another process may be uploading there.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from darwinmerge import s3
from darwinmerge.errors import BadConfiguration, DarwinError, StoreUnreachable
from darwinmerge.parallel import in_order
from darwinmerge.store.base import Ref, Stat, require_key, stored_ref

PART = 8 << 20  # bytes; an object that is smaller goes up by one request
PARTS_OF_A_SIZE = 1000  # then parts are twice as large: S3 takes 10,000 parts, which is then 8 TB
UPLOADS = 8  # parts on their way; as many wait, so that a shard takes 150 MB of memory
STALE = timedelta(days=1)
CONFLICT = ("ConditionalRequestConflict", "OperationAborted")  # two writers at once, and neither has won yet
CONFLICTS = 8  # times that one is tried again
INTERNAL = ".partial/"  # what lies there is no object of the store, as in a folder
PROBE = f"{INTERNAL}probe"

Uploaded = dict[str, Any]  # a part, as the completion has to name it


class S3Store:
    """Objects of a bucket whose keys start with a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """A store in a bucket that exists.

        Raises:
            BadConfiguration: there is no client; see `darwinmerge.s3.client`.
        """
        s3.client()
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._prefix, self._sure = bucket, f"{prefix}/" if prefix else "", False

    def head(self, key: str) -> Stat | None:
        """See `Store.head`; by a listing, since the answer to a HEAD has no body and so never says what is wrong."""
        name = self._name(key)
        found = next(s3.listed(self._bucket, name, MaxKeys=1), None)
        return Stat(key=key, size=found[2]) if found and found[0] == name else None

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Store.read`."""
        try:
            return s3.get(self._bucket, self._name(key), start, stop)
        except KeyError:
            raise KeyError(key) from None

    def create(self, key: str, data: bytes) -> bool:
        """See `Store.create`; False also if the server did write `data` and its answer was lost: it stands there."""
        name = self._name(key)
        self.make_sure()
        return self._put(name, data)

    def put_shard(self, key: str, parts: Iterable[bytes | memoryview]) -> Ref:
        """See `Store.put_shard`."""
        name = self._name(key)
        self.make_sure()
        chunks = _chunks(parts)
        first = next(chunks, bytearray())
        if len(first) < PART:
            ref = Ref(key=key, sha256=hashlib.sha256(first).hexdigest(), size=len(first))
            created = self._put(name, first)
        else:
            ref, created = self._upload(key, itertools.chain([first], chunks))
        return ref if created else stored_ref(self, key)

    def replace(self, key: str, data: bytes) -> None:
        """See `Store.replace`."""
        self._call("put_object", self._name(key), Body=data)

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Store.list`; put in order here, since servers with folders inside list these as units."""
        found = (
            Stat(key=name.removeprefix(self._prefix), size=size)
            for name, _, size in s3.listed(self._bucket, self._prefix + prefix)
            if not name.endswith("/")  # what some tools put there for a folder
        )
        return iter(sorted((s for s in found if not s.key.startswith(INTERNAL)), key=lambda stat: stat.key))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        self._call("delete_object", self._name(key))

    def stale(self) -> Iterator[Stat]:
        """See `Store.stale`; what an upload holds is the sum of its parts."""
        for upload in self._stale():
            parts = self._call("list_parts", upload["Key"], UploadId=upload["UploadId"]).get("Parts", ())
            yield Stat(key=upload["Key"].removeprefix(self._prefix), size=sum(part["Size"] for part in parts))

    def sweep(self) -> None:
        """See `Store.sweep`; a thousand uploads at most."""
        with contextlib.suppress(DarwinError):
            for upload in self._stale():
                self._call("abort_multipart_upload", upload["Key"], UploadId=upload["UploadId"])

    def make_sure(self, key: str = PROBE, data: bytes = b"") -> None:
        """Write an object before all others, unless it is there; each process does it once, by itself if need be.

        Raises:
            BadConfiguration: the server ignores conditions: only such a one takes the same object twice.
        """
        name = self._name(key)
        if not self._sure and self._put(name, data) and self._put(name, data):
            raise BadConfiguration(
                f"store {self.uri}: the server ignores If-None-Match, so that writers would overwrite each other; "
                "choose a server, or a version of it, that keeps conditional writes (docs/store.md)"
            )
        self._sure = True

    def _stale(self) -> Sequence[dict[str, Any]]:
        found = s3.call("list_multipart_uploads", self._bucket, self._prefix, Prefix=self._prefix).get("Uploads", ())
        return [upload for upload in found if datetime.now(UTC) - upload["Initiated"] > STALE]

    def _name(self, key: str) -> str:
        require_key(key)
        return self._prefix + key

    def _call(self, operation: str, name: str, expected: Collection[str] = (), **arguments: Any) -> dict[str, Any]:
        return s3.call(operation, self._bucket, name, expected, Key=name, **arguments)

    def _put(self, name: str, data: bytes | bytearray) -> bool:
        attempt = 1
        while True:
            again = CONFLICT if attempt < CONFLICTS else ()
            try:
                self._call("put_object", name, (*s3.CHANGED, *again), Body=data, IfNoneMatch="*")
                return True
            except s3.Refused as answer:
                if str(answer) in s3.CHANGED:
                    return False
            s3.pause(attempt)
            attempt += 1

    def _upload(self, key: str, chunks: Iterable[bytearray]) -> tuple[Ref, bool]:
        self.sweep()
        name = self._name(key)
        upload = self._call("create_multipart_upload", name, **_checked())["UploadId"]
        created, sha, size = False, hashlib.sha256(), 0

        def jobs(hashing: ThreadPoolExecutor) -> Iterator[Callable[[], Uploaded]]:
            nonlocal size
            for number, chunk in enumerate(chunks, 1):
                size += len(chunk)
                yield partial(self._send, name, upload, number, chunk, hashing.submit(sha.update, chunk))

        try:
            with ThreadPoolExecutor(1) as hashing:
                done = list(in_order(jobs(hashing), UPLOADS))
            created = self._complete(key, upload, done)
        finally:
            if not created:
                with contextlib.suppress(DarwinError):  # the next sweep does it; what went wrong before matters more
                    self._call("abort_multipart_upload", name, UploadId=upload)
        return Ref(key=key, sha256=sha.hexdigest(), size=size), created

    def _send(self, name: str, upload: str, number: int, chunk: bytearray, hashed: Future[None]) -> Uploaded:
        answer = self._call("upload_part", name, UploadId=upload, PartNumber=number, Body=chunk)
        hashed.result()
        return {"PartNumber": number} | {field: answer[field] for field in ("ETag", "ChecksumCRC32") if field in answer}

    def _complete(self, key: str, upload: str, parts: Sequence[Uploaded]) -> bool:
        """Make the object of its parts; False if there is one.

        Looked up before, since a server may keep the condition of a put and not that of a completion. SeaweedFS 4.48
        looks it up as well, so that two completions within milliseconds both succeed, and the later one stays. What
        goes up in parts is a child's weights, whose bytes are the same whoever writes them.
        """
        name, refusals = self._name(key), (*s3.CHANGED, *CONFLICT, "NoSuchUpload")
        if self.head(key):
            return False
        try:
            whole = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
            self._call("complete_multipart_upload", name, refusals, IfNoneMatch="*", **whole)
            return True
        except s3.Refused as answer:
            if self.head(key):
                return False
            raise StoreUnreachable(f"{self.uri}/{key}: the upload could not be completed: {answer}") from None


def _chunks(parts: Iterable[bytes | memoryview]) -> Iterator[bytearray]:
    """The bytes of `parts`, copied into pieces of the size of a part; the last may be smaller."""
    chunk, sizes = bytearray(), (PART << number // PARTS_OF_A_SIZE for number in itertools.count())
    size = next(sizes)
    for part in parts:
        rest = memoryview(part)
        rest = rest.cast("B") if rest.nbytes else rest
        while rest.nbytes:
            taken = size - len(chunk)
            chunk += rest[:taken]
            rest = rest[taken:]
            if len(chunk) == size:
                yield chunk
                chunk, size = bytearray(), next(sizes)
    if chunk:
        yield chunk


def _checked() -> dict[str, str]:
    """What an upload says of its parts' checksums, which botocore adds unless it is told that the server has none."""
    asked = s3.client().meta.config.request_checksum_calculation
    return {} if asked == "when_required" else {"ChecksumAlgorithm": "CRC32"}
