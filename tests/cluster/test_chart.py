"""The chart on a real API server: every object is valid, its roles reach people, and releases come, change and go."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge_operator.crd import crd
from tests.cluster.conftest import Kubernetes, kubectl, program, until
from tests.cluster.operated import CHART, Operator, Run
from tests.unit.test_chart_snapshots import CASES

pytestmark = pytest.mark.cluster

CRD = crd()["metadata"]["name"]
Json = dict[str, Any]
ENABLED = {"enabled": True}
EVERYTHING = {
    "metrics": dict.fromkeys(("serviceMonitor", "prometheusRule", "dashboards"), ENABLED),
    **dict.fromkeys(("networkPolicy", "kueue", "serving"), ENABLED),
    "worker": {"namespaces": ["team-a"]},
    "extraEnv": [{"name": "A"}],
}


def resource(kind: str, spec: Json) -> Json:
    """A kind of monitoring.coreos.com that takes `spec` and nothing else: names and structure as Prometheus Operator
    documents them, of the fields that the chart writes. What its own CRDs check besides isn't checked here."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "properties": {"spec": spec}, "required": ["spec"]}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }


def fields(**known: Json) -> Json:
    return {"type": "object", "properties": known}


STRING, MAP = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
ENDPOINT = fields(port=STRING, path=STRING, interval=STRING, honorLabels={"type": "boolean"})
RULE = fields(**dict.fromkeys(("alert", "record", "expr", "for"), STRING), labels=MAP, annotations=MAP)
GROUP = fields(name=STRING, interval=STRING, rules={"type": "array", "items": RULE})
MONITORING = {
    "ServiceMonitor": fields(selector=fields(matchLabels=MAP), endpoints={"type": "array", "items": ENDPOINT}),
    "PrometheusRule": fields(groups={"type": "array", "items": GROUP}),
}


@pytest.fixture(scope="module")
def prometheus_operator(kubernetes: Kubernetes) -> Iterator[None]:
    """Its kinds, where the cluster doesn't have them."""
    known = kubectl("get", "crd", "--output=name")
    made = [one for kind, spec in MONITORING.items() if (one := resource(kind, spec))["metadata"]["name"] not in known]
    for one in made:
        kubernetes.apply(one)
        kubectl("wait", "crd", one["metadata"]["name"], "--for=condition=Established", "--timeout=60s")
    yield
    for one in made:
        kubectl("delete", "crd", one["metadata"]["name"])


@pytest.mark.parametrize("case", [*CASES, "everything"])
@pytest.mark.usefixtures("prometheus_operator")
def test_every_object_is_valid_and_every_pod_is_restricted(
    kubernetes: Kubernetes, restricted: str, namespace: str, case: str, tmp_path: Path
) -> None:
    """Of every render that has a snapshot, and of one with all that the chart can bring."""
    values, chart = tmp_path / "values.yaml", tmp_path / "chart.yaml"
    given = yaml.safe_dump({"everything": EVERYTHING, **CASES}[case])
    values.write_text(given.replace("team-a", restricted).replace("team-b", namespace))
    text = program("helm", "template", "darwin", CHART, "--namespace", restricted, "--values", values)
    chart.write_text(text)
    kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", chart)
    objects = [one for one in yaml.safe_load_all(text) if one]
    monitored = {"NetworkPolicy", "Service", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert case != "everything" or monitored <= {one["kind"] for one in objects}
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    pods += [one["spec"] for one in objects if one["kind"] == "Pod"]
    assert pods
    for spec in pods:
        spec = {**spec, "serviceAccountName": "default"}  # its own isn't there
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
        kubernetes.create(pod, restricted, dry=True)


@pytest.mark.usefixtures("merges")
def test_who_views_can_read_merges_and_only_who_edits_can_write_them(make_namespace: Callable[..., str]) -> None:
    namespace = make_namespace({})
    every = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    own = f"rbac.aggregate=true,watchNamespaces={{{namespace}}}"
    text = program("helm", "template", "roles", CHART, "--namespace", namespace, "--set", own)
    roles = [one for one in yaml.safe_load_all(text) if one and one["kind"] == "ClusterRole"]
    manifest = yaml.safe_dump_all(roles)
    apply(manifest)
    try:
        for role in ("view", "edit", "admin"):
            kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er", "-n", namespace)
        until(lambda: can(namespace, "viewer", "get") and can(namespace, "editer", "create"))
        until(lambda: can(namespace, "adminer", "create"))
        able = {
            role: {verb for verb in every if can(namespace, f"{role}er", verb)} for role in ("view", "edit", "admin")
        }
        assert able == {"view": {"get", "list", "watch"}, "edit": {*every}, "admin": {*every}}
        assert not can(namespace, "stranger", "get")
    finally:
        delete(manifest)


def test_the_operators_token_touches_only_what_a_darwinmerge_owns(
    merges: Any, make_namespace: Callable[..., str]
) -> None:
    namespace = make_namespace({})
    own = f"rbac.aggregate=false,crds.enabled=false,watchNamespaces={{{namespace}}},serving.enabled=true"
    text = program("helm", "template", "bounded", CHART, "--namespace", namespace, "--set", own)
    kinds = ("Role", "RoleBinding", "ServiceAccount", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    objects = [one for one in yaml.safe_load_all(text) if one and one["kind"] in kinds]
    account = next(one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount")
    user = f"system:serviceaccount:{namespace}:{account}"
    manifest = yaml.safe_dump_all(objects)
    apply(manifest)
    try:
        until(
            lambda: "only what a DarwinMerge owns" in refusal(namespace, user, made("ConfigMap", "a.ledger", OWNED[:0]))
        )
        assert "only what a DarwinMerge owns" in refusal(namespace, user, made("Job", "a", OWNED[:0]))
        assert "only ledgers" in refusal(namespace, user, made("ConfigMap", "aws-auth"))
        for pod in (
            {"automountServiceAccountToken": True},
            {"automountServiceAccountToken": None},
            PROJECTED,
            OF_THE_NODE,
        ):
            for kind in ("Job", "Deployment"):
                assert "have no token, no volume of the node" in refusal(namespace, user, made(kind, "a", **pod))
        for kind, name in (("ConfigMap", "a.ledger"), ("Job", "a"), ("Deployment", "a"), ("Service", "a")):
            assert refusal(namespace, user, made(kind, name)) == ""
        theirs = made("ConfigMap", "b.ledger", OWNED[:0])
        assert refusal(namespace, "", theirs, dry=False) == ""
        assert "only what a DarwinMerge owns" in refusal(namespace, user, theirs, "replace")
    finally:
        delete(manifest)


OWNED = [{"apiVersion": "darwinmerge.io/v1alpha1", "kind": "DarwinMerge", "name": "a", "uid": "u", "controller": True}]
PROJECTED = {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}
OF_THE_NODE = {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
GROUPS = {"Job": "batch/v1", "Deployment": "apps/v1"}


def made(kind: str, name: str, owners: Sequence[Json] = OWNED, **pod: Any) -> Json:
    """An object as the operator makes it, but for what is given of its Pod."""
    found: Json = {"apiVersion": GROUPS.get(kind, "v1"), "kind": kind}
    found["metadata"] = {"name": name, "ownerReferences": list(owners)}
    spec = {"containers": [{"name": "worker", "image": "a:1"}], "automountServiceAccountToken": False, **pod}
    if kind == "Job":
        found["spec"] = {"template": {"spec": {"restartPolicy": "Never", **spec}}}
    if kind == "Deployment":
        labels = {"app": "a"}
        found["spec"] = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        }
    if kind == "Service":
        found["spec"] = {"ports": [{"port": 80}], "selector": {"app": "a"}}
    return found


def refusal(namespace: str, user: str, manifest: Json, verb: str = "create", dry: bool = True) -> str:
    """What the API server says against it; empty: nothing."""
    flags = ["--namespace", namespace, "--filename=-", *(["--dry-run=server"] if dry else [])]
    flags += [f"--as={user}"] if user else []
    text = yaml.safe_dump(manifest)
    return subprocess.run(["kubectl", verb, *flags], input=text, check=False, capture_output=True, text=True).stderr


@pytest.mark.slow
def test_an_upgrade_upgrades_the_crd_and_an_experiment_runs_over_one_that_was_kept(
    kubernetes: Kubernetes, images: tuple[str, str], small_run: Callable[[str], Run], tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(CHART, older)
    file = older / "files" / "crd.yaml"
    before = crd()
    del before["spec"]["names"]["shortNames"]
    file.write_text(yaml.safe_dump(before))
    run = small_run("installed-again")
    operator = Operator(kubernetes, run.namespace, "again")
    everything = ("crds.enabled=true", "rbac.aggregate=true", "metrics.testHost=127.0.0.1")
    kubectl("delete", "--wait", "crd", CRD)
    try:
        operator.install(*images, *everything, chart=older)
        assert short_names(kubernetes) == []
        operator.install(*images, *everything, "log.level=debug")
        assert short_names(kubernetes) == ["dm"]
        run.apply()
        program("helm", "test", operator.release, "--namespace", run.namespace, "--timeout", "60s")
        operator.uninstall()
        assert run.found(), "its DarwinMerges are still there"
        operator.install(*images, *everything)
        run.wait("Complete")
    finally:
        run.delete()
        operator.uninstall()
        kubernetes.apply(crd())


def short_names(kubernetes: Kubernetes) -> list[str]:
    """Of the kind, as the cluster has it."""
    found = kubernetes.of("CustomResourceDefinition").get(name=CRD).to_dict()
    return list(found["spec"]["names"].get("shortNames") or [])


def can(namespace: str, user: str, verb: str) -> bool:
    """Whether a user may do that with DarwinMerges."""
    command = ["kubectl", "auth", "can-i", verb, f"darwinmerges.{CRD.partition('.')[2]}", "-n", namespace]
    done = subprocess.run([*command, f"--as={user}"], check=False, capture_output=True, text=True)
    return done.stdout.strip() == "yes"


def apply(manifest: str) -> None:
    subprocess.run(["kubectl", "apply", "--filename=-"], input=manifest, text=True, check=True, capture_output=True)


def delete(manifest: str) -> None:
    subprocess.run(["kubectl", "delete", "--filename=-"], input=manifest, text=True, check=True, capture_output=True)
