"""An API server of a few lines: objects by path, versions, conflicts, and every request that came."""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client

from darwinmerge_operator.api import APPLY, Api, Conflict, Exists, Gone

Json = dict[str, Any]


@dataclass
class ApiWorld(Api):
    """As `Api`, of objects in memory; `asked` are verbs and kinds, in order."""

    objects: dict[str, Json] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(client.ApiClient())
        self._versions = itertools.count(1)

    def put(self, path: str, found: Json) -> Json:
        """Write an object, as anybody may."""
        found = copy.deepcopy(found)
        found["metadata"] |= {"resourceVersion": str(next(self._versions))}
        found["metadata"].setdefault("uid", path)
        found["metadata"].setdefault("creationTimestamp", "2026-01-01T12:00:00Z")
        self.objects[path] = found
        return copy.deepcopy(found)

    def requests(self) -> list[str]:
        """Those since the last time."""
        found, self.asked = self.asked, []
        return found

    def _ask(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, kind: str = ""
    ) -> Json:
        kinds = ("status", "jobs", "pods", "configmaps", "events", "darwinmerges", "deployments", "services")
        self.asked.append(f"{method} {next(kind for kind in kinds if kind in path)}")
        if kind == APPLY:
            return self.put(path, body)
        if method == "GET" and path.endswith(("jobs", "pods", "events")):
            items = [copy.deepcopy(one) for name, one in self.objects.items() if name.startswith(path + "/")]
            return {"items": items}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise Exists(path)
            return self.put(path, body)
        path = path.removesuffix("/status")
        if path not in self.objects:
            raise Gone(path)
        known = self.objects[path]
        if method == "DELETE":
            return self.objects.pop(path)
        if method == "GET":
            return copy.deepcopy(known)
        if body["metadata"].get("resourceVersion") not in (None, known["metadata"]["resourceVersion"]):
            raise Conflict(path)
        return self.put(path, body if method == "PUT" else _patched(known, {"status": body["status"]}))


def _patched(found: Json, patch: Mapping[str, Any]) -> Json:
    merged = dict(found)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _patched(merged.get(name) or {}, value) if isinstance(value, dict) else value
    return merged
