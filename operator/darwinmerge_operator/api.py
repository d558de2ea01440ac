"""All that the operator asks of the API server, in plain dictionaries; a method a request, and nothing decided here.

Requests are few and named, so that the Role of the chart can be read off this file. Typed models of the Kubernetes
client would be a hundred times the code for the same JSON.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes import client

from darwinmerge_operator.job import LABEL
from darwinmerge_operator.patience import pause_of
from darwinmerge_operator.resource import GROUP, PLURAL, VERSION

TIMEOUT = (5, 30)  # seconds to connect, and to answer
QUEUES = ("v1beta2", "v1beta1")  # versions of Kueue's API, the newest first: 0.15 brought the first of them
HINDRANCES = ("FailedCreate", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")  # reasons of events
APPLY = "application/apply-patch+yaml"  # JSON is YAML
Object = dict[str, Any]
Key = tuple[str, str]  # namespace and name of a run


class Gone(Exception):
    """The object isn't there."""


class Conflict(Exception):
    """Somebody else has written, or created, it first: look again."""


class Exists(Conflict):
    """An object of this name is there already."""


class Refused(Exception):
    """The API server doesn't take it, in its own words; or one of its webhooks is away, and it may not do without."""


class Busy(ConnectionError):
    """The API server has asked for a pause, which isn't over."""

    def __init__(self, message: str, seconds: float) -> None:
        """`seconds` are left of it."""
        super().__init__(message)
        self.seconds = seconds


class Api:
    """Requests to one API server."""

    def __init__(self, connection: client.ApiClient, told: Callable[[str, str, str], None] | None = None) -> None:
        """Requests over `connection`; `told` is told of each: its verb, its resource, and its answer's code."""
        self._connection, self._told = connection, told or (lambda verb, resource, code: None)
        self._pause = _Pause()

    def require_resource(self) -> None:
        """Make sure that the cluster knows our resource; everybody who is somebody may ask that.

        Raises:
            Gone: it doesn't.
        """
        resources = self._ask("GET", f"/apis/{GROUP}/{VERSION}")["resources"]
        if not any(one["name"] == PLURAL for one in resources):
            raise Gone(f"{PLURAL}.{GROUP}")

    def run(self, namespace: str, name: str) -> Object:
        """A DarwinMerge."""
        return self._ask("GET", f"{_runs(namespace)}/{name}")

    def patch_status(self, run: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
        """Change the status, if the object is still the one that was looked at; gives it as it is now."""
        metadata = run["metadata"]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": patch}
        return self._ask("PATCH", f"{_runs(metadata['namespace'])}/{metadata['name']}/status", body)

    def jobs(self, namespace: str, run: str) -> list[Object]:
        """The Jobs of a run."""
        return self._list(f"/apis/batch/v1/namespaces/{namespace}/jobs", labelSelector=f"{LABEL}/experiment={run}")

    def create_job(self, namespace: str, job: Mapping[str, Any]) -> None:
        """Create a Job."""
        self._ask("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)

    def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job and its Pods, with their grace period; one that is gone is fine."""
        with contextlib.suppress(Gone):
            self._ask(
                "DELETE",
                f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}",
                {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"},
            )

    def stands(self, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        """The Deployment or Service of this name, or None."""
        try:
            return self._ask("GET", _path(namespace, manifest))
        except Gone:
            return None

    def apply(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        """Create or change a Deployment or Service, so that it has what is given."""
        query = {"fieldManager": "darwin-operator", "force": "true"}
        self._ask("PATCH", _path(namespace, manifest), manifest, query, APPLY)

    def pods(self, namespace: str, run: str) -> list[Object]:
        """The Pods of a run."""
        return self._list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"{LABEL}/experiment={run}")

    def warnings(self, namespace: str) -> dict[str, str]:
        """The last reason why a Job has no Pod, or why a Pod doesn't start, by the name of the Job or Pod."""
        events = self._list(f"/api/v1/namespaces/{namespace}/events", fieldSelector="type=Warning")
        events = [event for event in events if event.get("reason") in HINDRANCES]
        events.sort(key=lambda event: event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])
        return {event["involvedObject"]["name"]: event.get("message", "") for event in events}

    def workloads(self, namespace: str, uid: str) -> list[Object]:
        """What Kueue makes of the Job of this uid; nothing where there is no Kueue."""
        for version in QUEUES:
            path = f"/apis/kueue.x-k8s.io/{version}/namespaces/{namespace}/workloads"
            with contextlib.suppress(Gone):
                return self._list(path, labelSelector=f"kueue.x-k8s.io/job-uid={uid}")
        return []

    def ledger(self, namespace: str, name: str) -> Object | None:
        """The ConfigMap of a run, or None."""
        try:
            return self._ask("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except Gone:
            return None

    def write_ledger(self, configmap: Mapping[str, Any]) -> Object:
        """Create or replace a ConfigMap; with a resourceVersion, only that version is replaced."""
        metadata = configmap["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps"
        if "resourceVersion" in metadata:
            return self._ask("PUT", f"{path}/{metadata['name']}", configmap)
        return self._ask("POST", path, configmap)

    def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Tell the story of a run."""
        self._ask("POST", f"/api/v1/namespaces/{namespace}/events", event)

    def _list(self, path: str, **query: str) -> list[Object]:
        items: list[Object] = self._ask("GET", path, query=query)["items"]
        return items

    def _ask(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, kind: str = ""
    ) -> Object:
        kind = kind or ("application/merge-patch+json" if method == "PATCH" else "application/json")
        request = self._connection.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        self._pause.over()
        code = "none"  # no answer came
        try:
            answer = self._connection.call_api(*request, _request_timeout=TIMEOUT)
            text, code = answer.read(), str(answer.status)
        finally:
            self._told(method, _resource(path), code)
        if answer.status in (429, 503):
            self._pause.asked(pause_of(answer.headers.get("Retry-After")))
        if not 200 <= answer.status <= 299:
            raise named(answer.status, text)
        found: Object = json.loads(text)
        return found


class _Pause:
    """A pause that an overloaded API server asks for; it holds for all runs, since to the server we are one client."""

    def __init__(self) -> None:
        self._lock, self._until = threading.Lock(), 0.0

    def over(self) -> None:
        """Make sure that it is.

        Raises:
            Busy: it isn't.
        """
        with self._lock:
            if (left := self._until - time.monotonic()) > 0:
                raise Busy(f"the API server has asked for a pause, of which {left:.1f} s are left", left)

    def asked(self, seconds: float) -> None:
        """The server asks for so many seconds."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)


def _resource(path: str) -> str:
    """What a request is about: `jobs`, `darwinmerges/status`."""
    _, inside, rest = path.partition("/namespaces/")
    parts = rest.split("/")[1:] if inside else []
    return "/".join(parts[0::2]) or "discovery"


def _path(namespace: str, manifest: Mapping[str, Any]) -> str:
    """Where an object is: of the core group, or of another."""
    version, kind = manifest["apiVersion"], f"{manifest['kind'].lower()}s"
    root = "apis" if "/" in version else "api"
    return f"/{root}/{version}/namespaces/{namespace}/{kind}/{manifest['metadata']['name']}"


def _runs(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"


def named(status: int, text: bytes) -> Exception:
    """What an answer that isn't a success is called here."""
    try:
        told = json.loads(text)
        reason, message = told.get("reason"), told["message"]
    except (TypeError, ValueError, KeyError):
        reason, message = None, text[:300].decode(errors="replace")
    if status == 404:
        return Gone(message)
    if status == 409:
        return Exists(message) if reason == "AlreadyExists" else Conflict(message)
    if status in (400, 403, 413, 422) or (status == 500 and "failed calling webhook" in message):
        return Refused(message)
    return ConnectionError(f"API server: {status} {message}")
