"""The half of the hub's double that takes uploads: repositories, branches, Git LFS in one part or many, commits.

As in reality: the hub says which files are large; those go to the storage by signed URLs, by their SHA-256, and one
that is there already is not asked for again; a commit refers to them, brings the small ones, and names the one that it
replaces. What was wrong with a request is decided before anything is changed, but for a `Cut`, which loses the answer.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.hub import Fault, Hub, Model

LARGE = (".safetensors", ".bin", ".gguf")  # what real models keep in Git LFS
FIRST = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}  # what a new repository holds


class Uploads:
    """Answers POST and PUT of a server of the double, which has `hub`, `answer` and `fail`."""

    hub: "Hub"
    fault: "Fault | None" = None
    got = 0  # bytes of the request's body
    command: str
    path: str
    headers: Any
    rfile: Any
    close_connection: bool

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"", ranged: bool = False) -> None:
        """Answer a request."""
        raise NotImplementedError

    def fail(self, status: int, code: str = "", message: str = "") -> None:
        """Answer with an error."""
        raise NotImplementedError

    def act(self, path: str, asked: Mapping[str, list[str]], body: bytes) -> None:
        """Do what a request with a body asks for."""
        raise NotImplementedError

    def do_POST(self) -> None:
        """Take the body, or a part of it, as a fault has it, and act."""
        from tests.hub import Drop, Say

        parts = urlsplit(self.path)
        self.fault = self.hub.next(f"{self.command} {unquote(parts.path)}")
        size = int(self.headers.get("Content-Length", 0))
        if isinstance(self.fault, Drop):
            self.rfile.read(min(self.fault.after, size))
            self.close_connection = True
            return None
        body = self.rfile.read(size)
        self.got = len(body)
        if isinstance(self.fault, Say):
            return self.answer(self.fault.status, self.fault.headers)
        return self.act(parts.path, parse_qs(parts.query), body)

    do_PUT = do_POST

    def tell(self, told: object) -> None:
        """Answer with JSON."""
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())


class FrontUploads(Uploads):
    """The hub's own half."""

    def act(self, path: str, asked: Mapping[str, list[str]], body: bytes) -> None:
        if re.fullmatch(r"/complete/[0-9a-f]{64}", path):
            return self.complete(path.rpartition("/")[2], json.loads(body))
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.fail(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return self.tell({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?/(preupload|branch|commit|info/lfs)/(.+)", path)
        model = self.hub.models.get(found[1]) if found else None
        if found is None or model is None:
            return self.fail(404, "RepoNotFound", "Repository not found")
        name, what, rest = found[1], found[2], unquote(found[3])
        if what == "info/lfs":
            return self.tell({"objects": [self.order(**one) for one in json.loads(body)["objects"]]})
        if what == "branch":
            return self.branch(model, rest, json.loads(body).get("startingPoint", "main"))
        if rest not in model.branches:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {rest}")
        if what == "preupload":
            return self.tell({"files": [self.mode(one["path"]) for one in json.loads(body)["files"]]})
        return self.commit(name, model, rest, [json.loads(line) for line in body.splitlines()])

    def create(self, asked: Mapping[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.models:
            return self.fail(409, "", "You already created this model repo")
        self.hub.push(name, FIRST)
        self.hub.models[name].private = asked["visibility"] == "private"
        return self.tell({"url": f"{self.hub.endpoint}/{name}"})

    def branch(self, model: "Model", name: str, start: str) -> None:
        if name in model.branches:
            return self.fail(409, "", "Reference already exists")
        model.branches[name] = model.branches.get(start, start)
        return self.tell({})

    def mode(self, path: str) -> dict[str, object]:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def order(self, oid: str, size: int) -> dict[str, object]:
        """What to do with a large file: nothing, if its bytes are here."""
        known = {"oid": oid, "size": size}
        if oid in self.hub.objects:
            return known
        place, part = f"{self.hub.storage}/storage/{oid}?Signature={self.hub.sign()}", self.hub.part
        upload: dict[str, object] = {"href": place}
        if part:
            numbers = range(1, -(-size // part) + 1)
            header = {"chunk_size": str(part), **{f"{n:05d}": f"{place}&part={n}" for n in numbers}}
            upload = {"href": f"{self.hub.endpoint}/complete/{oid}", "header": header}
        return {**known, "actions": {"upload": upload}}

    def complete(self, oid: str, told: Mapping[str, Any]) -> None:
        parts = self.hub.parts.pop(oid)
        assert [(p["partNumber"], p["etag"]) for p in told["parts"]] == [(n, f'"{n}"') for n in sorted(parts)]
        return self.keep(oid, b"".join(parts[n] for n in sorted(parts)))

    def keep(self, oid: str, data: bytes) -> None:
        """Take an object, if it is what its name says."""
        if hashlib.sha256(data).hexdigest() != oid:
            return self.fail(400, "BadDigest", "not what its name says")
        self.hub.objects[oid] = data
        return self.tell({})

    def commit(self, name: str, model: "Model", branch: str, lines: list[dict[str, Any]]) -> None:
        head, parent = model.branches[branch], lines[0]["value"].get("parentCommit")
        if parent not in (None, head):
            return self.fail(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(model.commits[head])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                del files[value["path"]]
        oid = self.hub.push(name, files, branch)
        return self.tell({"commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}"})


class StorageUploads(Uploads):
    """The storage's half."""

    def act(self, path: str, asked: Mapping[str, list[str]], body: bytes) -> None:
        oid = path.removeprefix("/storage/")
        if asked.get("Signature", [""])[0] not in self.hub.signatures:
            return self.fail(403, "AccessDenied", "Request has expired")
        if "part" in asked:
            number = int(asked["part"][0])
            self.hub.parts.setdefault(oid, {})[number] = body
            return self.answer(200, {"ETag": f'"{number}"'})
        if hashlib.sha256(body).hexdigest() != oid:
            return self.fail(400, "BadDigest", "not what its name says")
        self.hub.objects[oid] = body
        return self.answer(200, {})
