"""A model hub for tests: what huggingface_hub asks the real one, answered from memory, and what can go wrong with it.

Two servers, as in reality: the hub, which knows models, revisions and who may read, and the storage that it redirects
large files to, by URLs whose signature is all that it asks for. That the double speaks the protocol is shown by
huggingface_hub's own `snapshot_download` (`tests/integration/test_hub.py`) and `upload_folder` (`test_upload.py`).
"""

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_uploads import LARGE, FrontUploads, StorageUploads
from tests.proxy import Faulty, served

DATE = "2026-01-01T00:00:00.000Z"
PAGE = 3  # entries of a listing's page: few, so that every listing has several


@dataclass(frozen=True)
class Say:
    """Answer with this status instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Hang up after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Lie:
    """Give other bytes, as many as asked for."""


@dataclass(frozen=True)
class Whole:
    """Take no notice of the range."""


@dataclass(frozen=True)
class Drop:
    """Hang up, without an answer, after so many bytes of the request's body."""

    after: int


Fault = Say | Cut | Lie | Whole | Drop


@dataclass(frozen=True)
class Asked:
    """A request."""

    line: str  # GET /org/name/resolve/<commit>/config.json
    start: int  # of its range; 0 without one
    stop: int | None
    sent: int  # bytes of the body that went out
    token: str
    got: int = 0  # bytes of the body that came in


@dataclass
class Model:
    """A repository."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False  # its files are for the token's account only; its listing is for all
    private: bool = False  # all of it is


@dataclass
class Hub(Faulty[Fault]):
    """What it holds, what it was asked, and what is done to requests: `GET /storage/<sha256>` those to the storage."""

    endpoint: str = ""
    storage: str = ""
    token: str = field(default_factory=lambda: f"hf_{secrets.token_hex(17)}", repr=False)
    models: dict[str, Model] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    signatures: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)  # uploaded, by SHA-256
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)  # of objects that are on their way
    part: int = 0  # bytes of a part of an upload; 0: whole

    def push(self, name: str, files: Mapping[str, bytes] | Path, branch: str = "main") -> str:
        """A commit with these files, or those of a folder, to which the branch moves."""
        held = {p.name: p.read_bytes() for p in files.iterdir()} if isinstance(files, Path) else dict(files)
        model = self.models.setdefault(name, Model())
        said = json.dumps({file: blob(data) for file, data in sorted(held.items())}) + branch + str(len(model.commits))
        commit = hashlib.sha1(said.encode()).hexdigest()
        model.commits[commit] = held
        model.branches[branch] = commit
        return commit

    def of(self, pattern: str) -> list[Asked]:
        """The requests whose line matches, in their order."""
        return [request for request in self.asked if re.search(pattern, request.line)]

    def environment(self, token: bool = False) -> dict[str, str]:
        """The variables that lead huggingface_hub here."""
        return {"HF_ENDPOINT": self.endpoint, **({"HF_TOKEN": self.token} if token else {})}

    def sign(self) -> str:
        """A signature that the storage takes."""
        signature = secrets.token_hex(8)
        with self.lock:
            self.signatures.add(signature)
        return signature


def blob(data: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """An empty hub, until the block ends."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        hub = found
        fault: Fault | None = None
        got = 0

        def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"", ranged: bool = False) -> None:
            """Answer, or what a fault makes of it; a ranged answer is the part that was asked for."""
            line = f"{self.command} {unquote(urlsplit(self.path).path)}"
            fault, self.fault = self.fault or found.next(line), None
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if isinstance(fault, Say):
                status, headers, body, ranged = fault.status, fault.headers, b"", False
            start, stop = (int(asked[1]), int(asked[2] or -2) + 1) if asked else (0, None)
            if ranged and asked and not isinstance(fault, Whole):
                size, stop = len(body), len(body) if stop == -1 else min(stop or 0, len(body))
                status, body = 206, body[start:stop]
                headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
            if isinstance(fault, Lie):
                body = bytes(byte ^ 1 for byte in body)
            sent = body[: fault.after] if isinstance(fault, Cut) else body
            sent = b"" if self.command == "HEAD" else sent
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with found.lock:
                found.asked.append(Asked(line, start, stop, len(sent), token, self.got))
            self.got = 0
            with contextlib.suppress(OSError):  # who has read enough hangs up
                self.wfile.write(sent)
            self.close_connection = len(sent) < len(body) and self.command != "HEAD"

        def fail(self, status: int, code: str = "", message: str = "") -> None:
            self.answer(status, {"X-Error-Code": code, "X-Error-Message": message})

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own messages are enough."""

    class Front(Handler, FrontUploads):
        def do_GET(self) -> None:
            path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|commits)/([^/]+))?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            matched = api or file
            model = found.models.get(matched[1]) if matched else None
            may = self.headers.get("Authorization") == f"Bearer {found.token}"
            if matched is None or model is None or (model.private and not may):
                return self.fail(401 if not may else 404, "RepoNotFound", "Repository not found")
            revision = unquote((api[3] if api else matched[2]) or "main")
            commit = revision if revision in model.commits else model.branches.get(revision, "")
            if not commit:
                return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if api and api[2] == "commits":
                log = [{"id": oid, "title": "", "message": "", "date": DATE, "authors": []} for oid in model.commits]
                return self.tell(log[::-1])
            if api and api[2] == "tree":
                return self.tree(path, model.commits[commit], int(asked.get("cursor", ["0"])[0]))
            if api:
                names = [{"rfilename": name} for name in model.commits[commit]]
                about = {"id": matched[1], "modelId": matched[1], "sha": commit, "siblings": names, "tags": []}
                return self.answer(200, {"Content-Type": "application/json"}, json.dumps(about).encode())
            if model.gated and not may:
                return self.fail(401 if not self.headers.get("Authorization") else 403, "GatedRepo", "gated")
            return self.file(commit, model.commits[commit], unquote(matched[3]))

        do_HEAD = do_GET

        def tree(self, path: str, files: Mapping[str, bytes], first: int) -> None:
            entries = [entry(name, data) for name, data in files.items()]
            entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"}]
            more = {"Link": f'<{found.endpoint}{path}?cursor={first + PAGE}>; rel="next"'}
            headers = {"Content-Type": "application/json", **(more if first + PAGE < len(entries) else {})}
            self.answer(200, headers, json.dumps(entries[first : first + PAGE]).encode())

        def file(self, commit: str, files: Mapping[str, bytes], name: str) -> None:
            data, told = files.get(name), {"X-Repo-Commit": commit}
            if data is None:
                self.answer(404, {**told, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            elif not name.endswith(LARGE):
                self.answer(200, {**told, "ETag": f'"{blob(data)}"', "Accept-Ranges": "bytes"}, data, ranged=True)
            else:
                sha = hashlib.sha256(data).hexdigest()
                told |= {"X-Linked-ETag": f'"{sha}"', "X-Linked-Size": str(len(data))}
                place = f"{found.storage}/storage/{sha}?Signature={found.sign()}"
                self.answer(302, {**told, "Location": place}, f"Found. Redirecting to {place}".encode())

    class Storage(Handler, StorageUploads):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if self.headers.get("Authorization"):
                return self.fail(400, "InvalidArgument", "Only one auth mechanism allowed")
            if parse_qs(parts.query).get("Signature", [""])[0] not in found.signatures:
                return self.fail(403, "AccessDenied", "Request has expired")
            wanted = parts.path.removeprefix("/storage/")
            commits = [held for model in found.models.values() for held in model.commits.values()]
            data = next(d for held in commits for d in held.values() if hashlib.sha256(d).hexdigest() == wanted)
            return self.answer(200, {"ETag": f'"{wanted}"', "Accept-Ranges": "bytes"}, data, ranged=True)

        do_HEAD = do_GET

    with served(Front) as found.endpoint, served(Storage) as found.storage:
        yield found


def entry(name: str, data: bytes) -> dict[str, object]:
    """A file in a listing."""
    about: dict[str, object] = {"type": "file", "oid": blob(data), "size": len(data), "path": name}
    if name.endswith(LARGE):
        about["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return about
