"""What is asked of the API server besides the operator's own requests, and what is said when it refuses.

The operator's `Api` names its requests so that its Role can be read off; the few that only a person makes stand here:
docs/kubectl.md lists the rights that they take.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml
from kubernetes import client, config
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from darwinmerge import __version__
from darwinmerge.errors import BadConfiguration, DarwinError, ExitCode
from darwinmerge_operator.api import Api, Exists, Gone, Object, Refused, named
from darwinmerge_operator.job import CONTAINER
from darwinmerge_operator.resource import GROUP, PLURAL, VERSION

MANAGER = "kubectl-darwin"  # who has changed a field, as managedFields tell it
INSTALL = "helm install darwin-operator charts/darwin-operator (docs/operator.md), or kubectl apply -f crds/"
NO_LIMIT = (5, None)  # seconds to connect; a log may be silent for as long as it likes
_RUNS = f"/apis/{GROUP}/{VERSION}"


class Unreachable(DarwinError):
    """The API server did not answer."""

    code = ExitCode.STORE_UNREACHABLE


class Cluster(Api):
    """One API server, as one person reaches it; errors are ours, and say what to do."""

    def __init__(self, connection: client.ApiClient, namespace: str) -> None:
        """Requests over `connection`, about `namespace` where nothing else is said."""
        super().__init__(connection)
        self.namespace = namespace
        self.server = str(connection.configuration.host)

    @classmethod
    def reached(cls, namespace: str = "", context: str = "", kubeconfig: str = "") -> Self:
        """The cluster of a kubeconfig, else of the Pod that this runs in.

        Raises:
            BadConfiguration: there is neither, or no such context.
        """
        file, wanted = kubeconfig or None, context or None
        if file and not Path(file).is_file():
            raise BadConfiguration(f"--kubeconfig {file}: no such file")
        configuration = client.Configuration()
        try:
            contexts, current = config.list_kube_config_contexts(file)
            config.load_kube_config(file, wanted, configuration)
        except ConfigException as error:
            if file or wanted:
                raise BadConfiguration(
                    f"kubeconfig: {error}; kubectl config get-contexts lists those there are"
                ) from None
            try:
                config.load_incluster_config(configuration)
            except ConfigException:
                raise BadConfiguration(f"no cluster: {error}; set KUBECONFIG, or give --kubeconfig") from None
            contexts, current = [], {}
        chosen = next((one for one in contexts if one["name"] == wanted), current) or {}
        configuration.retries = False  # a person sees the error, and may ask again
        connection = client.ApiClient(configuration)
        connection.user_agent = f"{MANAGER}/{__version__}"
        for header, value in _impersonated(file, chosen.get("context", {}).get("user", "")).items():
            connection.set_default_header(header, value)
        return cls(connection, namespace or chosen.get("context", {}).get("namespace") or "default")

    def named(self, name: str) -> Object:
        """A run.

        Raises:
            BadConfiguration: there is none of this name; those there are, are listed.
        """
        namespace, _, plain = name.rpartition("/")
        try:
            return self.run(namespace or self.namespace, plain)
        except Gone:
            there = [one["metadata"]["name"] for one in self.runs(namespace or self.namespace)]
        few = f"there are: {', '.join(there)}" if there else "there is none; kubectl darwin status -A looks elsewhere"
        raise BadConfiguration(f"no DarwinMerge {plain} in namespace {namespace or self.namespace}; {few}")

    def runs(self, namespace: str) -> list[Object]:
        """The runs of a namespace; of all where it is empty.

        Raises:
            BadConfiguration: the cluster doesn't know DarwinMerges.
        """
        try:
            return self._list(f"{_RUNS}/namespaces/{namespace}/{PLURAL}" if namespace else f"{_RUNS}/{PLURAL}")
        except Gone:
            raise BadConfiguration(f"{self.server} has no {PLURAL}.{GROUP}; install them: {INSTALL}") from None

    def change(self, run: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
        """Change a run's spec or annotations, under a name of our own."""
        where = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        return self._ask("PATCH", _place(run["metadata"]), patch, where)

    def rehearse(self, run: Mapping[str, Any]) -> str:
        """Have the API server check a manifest as if it were applied; gives `created` or `replaced`."""
        dry = {"dryRun": "All", "fieldManager": MANAGER, "fieldValidation": "Strict"}
        place = _place(run["metadata"])
        try:
            self._ask("POST", place.rpartition("/")[0], run, dry)
            return "created"
        except Exists:
            version = self._ask("GET", place)["metadata"]["resourceVersion"]
            body = {**run, "metadata": {**run["metadata"], "resourceVersion": version}}
            self._ask("PUT", place, body, dry)
            return "replaced"
        except Gone as error:
            told = str(error)
        self.runs(run["metadata"]["namespace"])  # else it's the namespace that isn't there
        raise BadConfiguration(told)

    def events(self, run: Mapping[str, Any]) -> list[Object]:
        """A run's story, the oldest first."""
        metadata = run["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/events"
        found = self._list(path, fieldSelector=f"involvedObject.uid={metadata['uid']}")
        return sorted(found, key=lambda event: event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])

    def log(self, namespace: str, pod: str, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Lines of a worker's log, by its Pod; with `follow`, as they come, until it ends.

        Raises:
            Gone: there is no such Pod.
            BadConfiguration: its container hasn't started, or you may not read logs.
        """
        query = [("container", CONTAINER)]  # a mesh may have added others
        query += [("follow", "true")] if follow else []
        query += [] if tail is None else [("tailLines", str(tail))]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        accept = {"Accept": "*/*"}
        request = self._connection.param_serialize(
            "GET", path, query_params=query, header_params=accept, auth_settings=["BearerToken"]
        )
        with _clear():
            answer = self._connection.call_api(*request, _request_timeout=NO_LIMIT)
            if answer.status != 200:
                raise named(answer.status, answer.read())
            rest = b""
            for piece in answer.response.stream(1 << 14):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest:
                yield rest.decode(errors="replace")

    def _ask(self, *request: Any, **more: Any) -> Object:
        with _clear():
            return super()._ask(*request, **more)


@contextmanager
def _clear() -> Iterator[None]:
    """Say what the API server, or the way to it, has against a request."""
    try:
        yield
    except Refused as error:
        raise BadConfiguration(str(error)) from None  # the API server names user, verb, resource and namespace
    except ConnectionError as error:
        if "401" in str(error):
            raise BadConfiguration(f"{error}: it doesn't know you; log in to the cluster again") from None
        raise Unreachable(str(error)) from None
    except (HTTPError, ConfigException, OSError) as error:
        raise Unreachable(f"the API server doesn't answer: {error}; see kubectl cluster-info") from None


def _impersonated(file: str | None, user: str) -> dict[str, str]:
    """Who a kubeconfig's user asks to be; the Python client passes over it, and would act with more rights."""
    for path in (file or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")).split(os.pathsep):
        if path and Path(path).is_file():
            users = (yaml.safe_load(Path(path).read_text()) or {}).get("users") or []
            found: dict[str, Any] = next((one.get("user") or {} for one in users if one["name"] == user), {})
            if found.get("as-groups"):
                raise BadConfiguration(f"kubeconfig {path}: as-groups of {user} can't be honoured; use another context")
            if found.get("as"):
                return {"Impersonate-User": str(found["as"])}
    return {}


def _place(metadata: Mapping[str, Any]) -> str:
    return f"{_RUNS}/namespaces/{metadata['namespace']}/{PLURAL}/{metadata['name']}"
