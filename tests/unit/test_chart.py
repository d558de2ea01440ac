"""The chart, rendered by the real helm: who may do what, what the operator is told, and what its values refuse."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge import __version__
from darwinmerge_operator.crd import text
from darwinmerge_operator.main import operator

CHART = Path(__file__).parents[2] / "charts" / "darwin-operator"
DIGEST = "sha256:" + "0" * 64
Json = dict[str, Any]
NAME = "darwin-darwin-operator"


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm")
    if program is None:
        pytest.skip("helm isn't on PATH: https://helm.sh/docs/intro/install")
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


def rendered(*values: str) -> list[Json]:
    """The objects of a release called `darwin` in the namespace `system`."""
    flags = [f"--set={value}" for value in values]
    done = helm("template", "darwin", CHART, "--namespace=system", *flags)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(kind: str, *values: str) -> list[Json]:
    return [document for document in rendered(*values) if document["kind"] == kind]


def rights(*values: str) -> list[Json]:
    """The operator's own roles."""
    return [o for o in rendered(*values) if o["kind"] in ("Role", "ClusterRole") and o["metadata"]["name"] == NAME]


def container(*values: str) -> Json:
    (deployment,) = of_kind("Deployment", *values)
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def told(*values: str) -> Json:
    """The operator's options, as it reads them from its command line."""
    return operator.make_context("darwin-operator", list(container(*values)["args"])).params


def test_helm_finds_nothing_to_mend() -> None:
    done = helm("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout


def test_its_crd_is_that_of_the_types() -> None:
    assert (CHART / "files" / "crd.yaml").read_text() == text(), "stale: run `make crd`"


def test_its_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_unless_told_otherwise_it_serves_all_namespaces() -> None:
    found = [o["kind"] for o in rendered("rbac.aggregate=false") if "Role" in o["kind"]]
    assert found == ["ClusterRole", "ClusterRoleBinding"]
    assert told()["namespace"] == ()


def test_with_namespaces_it_has_no_rights_outside_them() -> None:
    found = [
        (o["kind"], o["metadata"].get("namespace")) for o in rendered("watchNamespaces={a,b}", "rbac.aggregate=false")
    ]
    assert sorted(place for place in found if "Role" in place[0]) == [
        ("Role", "a"),
        ("Role", "b"),
        ("RoleBinding", "a"),
        ("RoleBinding", "b"),
    ]
    assert told("watchNamespaces={a,b}")["namespace"] == ("a", "b")


def test_its_rights_are_the_same_in_either_way() -> None:
    (everywhere,), (there,) = rights(), rights("watchNamespaces={a}")
    assert everywhere["rules"] == there["rules"]


@pytest.mark.parametrize("values", [[], ["watchNamespaces={a}"]], ids=["everywhere", "somewhere"])
def test_its_rights_are_its_service_accounts(values: list[str]) -> None:
    documents = {o["kind"].removeprefix("Cluster"): o for o in rendered("rbac.aggregate=false", *values)}
    account, role, binding = documents["ServiceAccount"], documents["Role"], documents["RoleBinding"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], "system")
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (role["kind"], role["metadata"]["name"])
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_it_reads_no_secret_and_holds_no_wildcard() -> None:
    (role,) = rights()
    named = {name for rule in role["rules"] for key in ("apiGroups", "resources", "verbs") for name in rule[key]}
    assert not named & {"*", "secrets", "darwinmerges/finalizers", "pods/exec", "impersonate", "escalate", "bind"}


def test_it_reads_kueues_workloads_where_it_is_told_to_and_only_there() -> None:
    may = [role["rules"] for values in ((), ("kueue.enabled=true",)) for role in rights(*values)]
    assert [[rule["verbs"] for rule in rules if "workloads" in rule["resources"]] for rules in may] == [[], [["list"]]]
    assert (told()["kueue"], told("kueue.enabled=true")["kueue"]) == (False, True)


def test_the_operator_is_told_every_value() -> None:
    values = ("threads=9", "port=9090", "log.format=text", "log.level=debug", "workerImage.tag=w")
    options = told(*values)
    assert (options["threads"], options["port"]) == (9, 9090)
    assert (options["log_format"], options["log_level"]) == ("text", "debug")
    assert options["worker_image"] == "darwin-gpu:w"


def test_its_probes_ask_the_port_that_it_listens_on() -> None:
    found = container("port=9090")
    assert {port["name"]: port["containerPort"] for port in found["ports"]} == {"http": 9090}
    for probe in ("readinessProbe", "livenessProbe"):
        assert found[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_an_image_is_the_charts_version_a_tag_or_a_digest() -> None:
    assert container()["image"] == f"darwin-operator:{__version__}"
    assert container("image.repository=example.org/team/o", "image.tag=x")["image"] == "example.org/team/o:x"
    assert container("image.tag=x", f"image.digest={DIGEST}")["image"] == f"darwin-operator@{DIGEST}"
    assert told("workerImage.tag=x", f"workerImage.digest={DIGEST}")["worker_image"] == f"darwin-gpu@{DIGEST}"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("replicas=2", "replicas"),
        ("image.tags=x", "tags"),
        ("image.tag=a b", "/image/tag"),
        ("image.digest=sha256:0", "/image/digest"),
        ("image.repository=", "/image/repository"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("workerImage.pullPolicy=Never", "pullPolicy"),
        ("watchNamespaces=a", "/watchNamespaces"),
        ("watchNamespaces={A}", "/watchNamespaces/0"),
        ("watchNamespaces={a,a}", "/watchNamespaces"),
        ("kueue.enabled=yes please", "/kueue/enabled"),
        ("threads=0", "/threads"),
        ("port=80", "/port"),
        ("log.level=verbose", "/log/level"),
        ("resources.claims=1", "claims"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, says: str) -> None:
    done = helm("template", CHART, f"--set={value}")
    assert done.returncode != 0
    assert says in done.stderr


# Whom it is for besides: the cluster's people, its cloud, its Prometheus.


def test_who_may_view_can_read_a_run_and_only_who_may_edit_can_create_one() -> None:
    found = {o["metadata"]["name"].rpartition("-")[2]: o for o in of_kind("ClusterRole") if o not in rights()}
    verbs = {role: {v for rule in o["rules"] for v in rule["verbs"]} for role, o in found.items()}
    assert verbs["view"] == {"get", "list", "watch"}
    assert "create" in verbs["edit"]
    label = "rbac.authorization.k8s.io/aggregate-to-"
    added = {
        role: {k.removeprefix(label) for k in o["metadata"]["labels"] if k.startswith(label)}
        for role, o in found.items()
    }
    assert added == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}


def test_the_crd_stays_when_the_release_goes_unless_it_is_told_not_to() -> None:
    policies = [
        [o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for o in found]
        for found in (
            of_kind("CustomResourceDefinition"),
            of_kind("CustomResourceDefinition", "crds.keep=false"),
            of_kind("CustomResourceDefinition", "crds.enabled=false"),
        )
    ]
    assert policies == [["keep"], [None], []]


def test_workers_have_an_account_of_the_cloud_where_one_is_wanted() -> None:
    values = ("worker.namespaces={a,b}", r"worker.serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn")
    found = [o for o in of_kind("ServiceAccount", *values) if o["metadata"]["name"] == "darwin-worker"]
    assert [o["metadata"]["namespace"] for o in found] == ["a", "b"]
    assert found[0]["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn"}


def test_prometheus_operator_is_told_of_the_service_where_there_is_one_and_the_runs_keep_their_namespace() -> None:
    assert not of_kind("ServiceMonitor")
    done = helm("template", "darwin", CHART, "--namespace=system", "--api-versions=monitoring.coreos.com/v1")
    objects = {o["kind"]: o for o in yaml.safe_load_all(done.stdout) if o}
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    labels = objects["Service"]["metadata"]["labels"].items()
    assert objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert endpoint["port"] in {port["name"] for port in objects["Service"]["spec"]["ports"]}
    selected = objects["Service"]["spec"]["selector"].items()
    assert selected <= objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert not selected <= objects["Pod"]["metadata"]["labels"].items(), "the test's Pod isn't the operator"


def test_what_a_platform_wants_of_a_pod_is_given_to_it() -> None:
    values = (
        *("nodeSelector.pool=cpu", "tolerations[0].operator=Exists", "priorityClassName=high", "podLabels.team=a"),
        *("imagePullSecrets[0].name=pull", "extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=p"),
        *("imageRegistry=r.example/", "serviceAccount.name=mine", "affinity.nodeAffinity.x=y"),
    )
    (deployment,) = of_kind("Deployment", *values)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert (pod["priorityClassName"], pod["serviceAccountName"]) == ("high", "mine")
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["affinity"] == {"nodeAffinity": {"x": "y"}}
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "a"
    assert {"name": "HTTPS_PROXY", "value": "p"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["image"].startswith("r.example/darwin-operator:")
    assert told(*values)["worker_image"].startswith("r.example/darwin-gpu:")
