"""The chart, rendered by the real helm: who may do what, what the operator is told, and what its values refuse."""

import pytest
import yaml

from darwinmerge import __version__
from darwinmerge_operator.crd import crd, text
from tests.charted import CHART, container, helm, of_kind, rendered, rights, told

DIGEST = "sha256:" + "0" * 64


def test_helm_finds_nothing_to_mend() -> None:
    done = helm("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout


def test_its_crd_is_that_of_the_types() -> None:
    assert (CHART / "files" / "crd.yaml").read_text() == text(), "stale: run `make crd`"


def test_what_helm_makes_of_the_crd_is_what_the_types_say() -> None:
    (made,) = of_kind("CustomResourceDefinition")
    assert {**made, "metadata": {"name": made["metadata"]["name"]}} == crd()


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


def test_it_writes_deployments_and_services_where_it_is_told_to_and_only_there() -> None:
    may = [role["rules"] for values in ((), ("serving.enabled=true",)) for role in rights(*values)]
    told = [
        [rule["verbs"] for rule in rules for name in ("deployments", "services") if name in rule["resources"]]
        for rules in may
    ]
    assert told == [[], [["get", "create", "patch"]] * 2]


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


def test_a_registry_is_both_images_unless_one_has_its_own() -> None:
    values = ("imageRegistry=r.example:5000", "workerImage.registry=w.example/team/")
    assert container(*values)["image"] == f"r.example:5000/darwin-operator:{__version__}"
    assert told(*values)["worker_image"] == f"w.example/team/darwin-gpu:{__version__}"
