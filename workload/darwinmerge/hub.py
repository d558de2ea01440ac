"""What all traffic with a model hub shares: URIs, calls of its API, ranged reads that outlive a cut connection, errors.

Endpoint, token and proxies are found as `huggingface_hub` finds them (HF_ENDPOINT, HF_TOKEN or `hf auth login`,
HTTPS_PROXY), and its session sends the requests, since an engine with settings of its own would be the one program of
a cluster that differs. What it hasn't is a read of a part of a file that goes on where the connection broke; that is
here. The token goes to the hub only, never to the storage that the hub redirects to, and into no message: errors of
the layers below are told by what they are, and their tracebacks are left out.
"""

import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from darwinmerge import __version__
from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, StoreUnreachable
from darwinmerge.hub_errors import (
    _TOKEN,
    AGAIN,
    LONGEST_WAIT,
    May,
    asked_wait,
    endpoint,
    named,
    origin_of,
    sent_headers,
    told_hub,
)
from darwinmerge.uri import MODEL, REVISION, without_user

T = TypeVar("T")
ATTEMPTS = 8  # in a row at one request that bring nothing; with exponential back-off about a minute
PAGED_ATTEMPTS = 2  # at a listing, each page of which huggingface_hub asks for six times by itself
LONGEST_BACKOFF = 20.0  # seconds
TIMEOUT = 60.0  # seconds without a byte
MAIN = "main"
_URI = re.compile(f"hf://({MODEL})(?:@({REVISION}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Revision:
    """A model on the hub, at a revision."""

    model: str  # org/name
    revision: str  # a branch, a tag or a commit

    def __str__(self) -> str:
        """Its URI."""
        return f"hf://{self.model}@{self.revision}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return bool(_COMMIT.fullmatch(self.revision))


@dataclass(frozen=True)
class Entry:
    """What the hub says of a file."""

    size: int  # bytes
    blob: str  # SHA-1 under which git keeps it, or what stands for it
    sha256: str  # of a large file; empty for others


def blob_of(data: bytes) -> str:
    """SHA-1, in hex, under which git keeps a file of these bytes, and by which the hub knows a small one."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def parse(uri: str) -> Revision:
    """The model and revision of `hf://org/name@revision`; `main` where it names none.

    Raises:
        BadConfiguration: it is no such URI.
    """
    found = _URI.fullmatch(uri)
    if not found or "--" in found[1] or ".." in uri:
        raise BadConfiguration(
            f"{without_user(uri)}: not a model on the hub; write hf://org/name or hf://org/name@revision"
        )
    return Revision(found[1], found[2] or MAIN)


def at(uri: str, commit: str) -> str:
    """A parent's URI with the commit that it was read at; as it is where there is none."""
    return str(Revision(parse(uri).model, commit)) if commit else uri


def pinned(uri: str) -> Revision:
    """The model of a URI at the commit that its revision is now.

    Raises:
        DarwinError: see `named`.
    """
    asked = parse(uri)
    if asked.pinned:
        return asked
    info = answer(str(asked), lambda api: api.model_info(asked.model, revision=asked.revision, timeout=TIMEOUT))
    if not _COMMIT.fullmatch(str(info.sha)):
        raise BadInput(f"{asked}: the hub names no commit for it; give one: hf://{asked.model}@commit")
    return Revision(asked.model, str(info.sha))


def listed(at: Revision) -> dict[str, Entry]:
    """The files of a model, by name; those in folders are left out.

    Raises:
        DarwinError: see `named`.
    """
    found = answer(str(at), lambda api: list(api.list_repo_tree(at.model, revision=at.revision)), PAGED_ATTEMPTS)
    return {
        file.path: Entry(file.size, file.blob_id, file.lfs.sha256 if file.lfs else "")
        for file in found
        if hasattr(file, "blob_id") and "/" not in file.path
    }


class Reader:
    """Reads parts of the files of one commit; threads may share it.

    The hub answers for a large file with a redirect to signed storage. Where that was is remembered, so that the hub,
    which counts requests, is asked once for a file and not for every part; a signature that has expired is renewed.
    """

    def __init__(self, at: Revision, sizes: Mapping[str, int]) -> None:
        """A reader of files of these sizes, in bytes."""
        self._at, self._sizes = at, sizes
        self._places: dict[str, str] = {}

    def get(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive) of a file; a connection that breaks is taken up at the byte where it was.

        Raises:
            DarwinError: see `named`.
        """
        found, place, failed = bytearray(), f"{self._at}/{name}", 0
        while len(found) < stop - start:
            had = len(found)
            try:
                self._read(name, start + had, stop, found)
                if len(found) == had:
                    raise ConnectionError("an answer without a byte")
            except DarwinError:
                raise
            except Exception as error:
                failed = 1 if len(found) > had else failed + 1
                if isinstance(error, _Refusal) and error.stale and failed < ATTEMPTS:
                    continue
                _wait(error, place, failed)
        return bytes(found)

    def _read(self, name: str, start: int, stop: int, found: bytearray) -> None:
        """Add to `found` what one request gives of these bytes."""
        known = self._places.get(name)
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        headers |= {} if known else sent_headers()
        url = known or _url(self._at, name)
        with _session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
            if answer.status_code not in (200, 206):
                stale = known is not None and answer.status_code not in AGAIN
                if stale:
                    self._places.pop(name, None)
                raise _Refusal(answer, stale)
            self._require_asked(answer, name, start)
            if origin_of(str(answer.url)) != origin_of(url):
                self._places[name] = str(answer.url)
            for part in answer.iter_raw():  # to its end, so that the connection can be used again
                found += part[: stop - start]
                start += len(part)
                if start >= stop and answer.status_code == 200:
                    return

    def _require_asked(self, answer: Any, name: str, start: int) -> None:
        """Refuse an answer that isn't the part that was asked for."""
        place, size = f"{self._at}/{name}", self._sizes[name]
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status_code == 200 and start:
            raise BadConfiguration(
                f"{place}: {told_hub()} gives whole files only; set HF_ENDPOINT to a hub that gives parts of them, or "
                "download the model and give its folder"
            )
        if given and (int(given[1]), int(given[2])) != (start, size):
            raise BadInput(
                f"{place}: asked for byte {start} of {size}, the hub answers with {given[1]} of {given[2]}; the file "
                "is not the one that it lists: try another HF_ENDPOINT, or download the model and give its folder"
            )


class _Refusal(Exception):
    """An answer that isn't the bytes."""

    def __init__(self, response: Any, stale: bool) -> None:
        super().__init__(f"status {response.status_code}")
        self.response, self.stale = response, stale


def answer(place: str, ask: Callable[[Any], T], attempts: int = ATTEMPTS, may: May = "read") -> T:
    """What the hub's API, huggingface_hub's `HfApi`, answers; asked again while the trouble is one that passes.

    Raises:
        DarwinError: see `named`.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise BadConfiguration(
            "hf:// needs huggingface_hub, which isn't installed: pip install 'darwinmerge[hub]'"
        ) from None
    if "authorization" not in sent_headers() and may == "write":  # what is wrong with a token is said before all else
        raise BadConfiguration(f"{place}: nobody uploads without a token; {_TOKEN.format(may)}")
    failed = 0
    while True:
        try:
            return ask(HfApi(endpoint=endpoint(), library_name="darwinmerge", library_version=__version__))
        except Exception as error:
            failed += 1
            _wait(error, place, failed, attempts, may)


def _wait(error: Exception, place: str, failed: int, attempts: int = ATTEMPTS, may: May = "read") -> None:
    """Wait before what failed so many times is tried again.

    Raises:
        DarwinError: it needn't be tried again; see `named`.
    """
    found = named(error, place, may)
    if not isinstance(found, StoreUnreachable) or failed >= attempts:
        raise found from None
    asked = asked_wait(getattr(error, "response", None))
    if asked is not None and asked > LONGEST_WAIT:
        raise StoreUnreachable(f"{found}; it asks to wait {asked:.0f} s: run again then") from None
    time.sleep(min(LONGEST_BACKOFF, (0.5 + random.random()) * 0.5 * 2**failed) if asked is None else asked)


def _session() -> Any:
    """huggingface_hub's session; its layers' logs, which tell signed URLs, only warn from now on."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return get_session()


def _url(at: Revision, name: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(at.model, name, revision=at.revision)
