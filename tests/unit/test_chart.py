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
    (file,) = (CHART / "crds").iterdir()
    assert file.read_text() == text(), "stale: run `make crd`"


def test_its_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_unless_told_otherwise_it_serves_all_namespaces() -> None:
    assert [o["kind"] for o in rendered() if "Role" in o["kind"]] == ["ClusterRole", "ClusterRoleBinding"]
    assert told()["namespace"] == ()


def test_with_namespaces_it_has_no_rights_outside_them() -> None:
    found = [(o["kind"], o["metadata"].get("namespace")) for o in rendered("watchNamespaces={a,b}")]
    assert sorted(place for place in found if "Role" in place[0]) == [
        ("Role", "a"),
        ("Role", "b"),
        ("RoleBinding", "a"),
        ("RoleBinding", "b"),
    ]
    assert told("watchNamespaces={a,b}")["namespace"] == ("a", "b")


def test_its_rights_are_the_same_in_either_way() -> None:
    (everywhere,), (there,) = of_kind("ClusterRole"), of_kind("Role", "watchNamespaces={a}")
    assert everywhere["rules"] == there["rules"]


@pytest.mark.parametrize("values", [[], ["watchNamespaces={a}"]], ids=["everywhere", "somewhere"])
def test_its_rights_are_its_service_accounts(values: list[str]) -> None:
    documents = {document["kind"].removeprefix("Cluster"): document for document in rendered(*values)}
    account, role, binding = documents["ServiceAccount"], documents["Role"], documents["RoleBinding"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], "system")
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (role["kind"], role["metadata"]["name"])
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_it_reads_no_secret_and_holds_no_wildcard() -> None:
    (role,) = of_kind("ClusterRole")
    named = {name for rule in role["rules"] for key in ("apiGroups", "resources", "verbs") for name in rule[key]}
    assert not named & {"*", "secrets", "darwinmerges/finalizers", "pods/exec", "impersonate", "escalate", "bind"}


def test_it_reads_kueues_workloads_where_it_is_told_to_and_only_there() -> None:
    may = [role["rules"] for values in ((), ("kueue.enabled=true",)) for role in of_kind("ClusterRole", *values)]
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
