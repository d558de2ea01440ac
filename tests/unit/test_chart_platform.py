"""The chart for a platform: its people's roles, its cloud, its Prometheus and Grafana, its nodes and its network."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.charted import (
    CHART,
    MONITORING,
    NAME,
    container,
    helm,
    objects,
    of_kind,
    rendered,
    rights,
    template,
)
from tests.dashboarded import DASHBOARDS
from tests.dashboarded import RULES as RULES_FILE

CONFIG_MAP_BYTES = 2**20  # the API server takes no more
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
ALERT = "{{ $labels.namespace }}/{{ $labels.name }} stands still"
RULES = {"groups": [{"name": "darwin", "rules": [{"alert": "A", "expr": "up", "annotations": {"summary": ALERT}}]}]}
DASHBOARD = {"title": "one", "panels": [{"legendFormat": "{{name}}", "expr": 'a{b="c"} > 0'}]}


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """The chart with alerts and two dashboards of the test's own."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "files" / "rules.yaml").write_text(yaml.safe_dump(RULES))
    shutil.rmtree(chart / "files" / "dashboards", ignore_errors=True)
    (chart / "files" / "dashboards").mkdir()
    for name in ("one", "two"):
        (chart / "files" / "dashboards" / f"{name}.json").write_text(json.dumps(DASHBOARD, indent=2))
    return chart


def test_who_may_view_can_read_a_run_and_only_who_may_edit_can_write_one() -> None:
    found = {o["metadata"]["name"].rpartition(":")[2]: o for o in of_kind("ClusterRole") if o not in rights()}
    verbs = {role: {verb for rule in o["rules"] for verb in rule["verbs"]} for role, o in found.items()}
    assert verbs == {
        "view": {"get", "list", "watch"},
        "edit": {"create", "update", "patch", "delete", "deletecollection"},
    }
    labels = {role: o["metadata"]["labels"] for role, o in found.items()}
    added = {role: {k.removeprefix(AGGREGATE) for k in own if k.startswith(AGGREGATE)} for role, own in labels.items()}
    assert added == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}


def test_releases_of_one_name_in_two_namespaces_share_no_role() -> None:
    names = [
        {
            o["metadata"]["name"]
            for o in objects(template("--set=watchNamespaces={a}", f"--namespace={namespace}"))
            if o["kind"] == "ClusterRole"
        }
        for namespace in ("one", "two")
    ]
    assert all(names)
    assert not names[0] & names[1]


def test_who_has_rights_in_a_namespace_only_can_install_it_there() -> None:
    none = [f"{name}=false" for name in ("rbac.aggregate", "crds.enabled", "admissionPolicy.enabled")]
    found = rendered("watchNamespaces={system}", *none)
    assert {o["metadata"].get("namespace") for o in found} == {"system"}


def test_without_rbac_no_role_is_made() -> None:
    assert not [o for o in rendered("rbac.create=false") if "Role" in o["kind"]]


@pytest.mark.parametrize(
    ("values", "account"),
    [((), NAME), (("serviceAccount.name=mine",), "mine"), (("serviceAccount.create=false",), "default")],
)
def test_the_operator_runs_as_the_account_that_is_bound(values: tuple[str, ...], account: str) -> None:
    (deployment,) = of_kind("Deployment", *values)
    (binding,) = of_kind("ClusterRoleBinding", *values)
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    made = [o["metadata"]["name"] for o in of_kind("ServiceAccount", *values)]
    assert made == ([] if account == "default" else [account])


@pytest.mark.parametrize(
    ("values", "policies"),
    [((), ["keep"]), (("crds.keep=false",), [None]), (("crds.enabled=false",), [])],
)
def test_the_crd_stays_when_the_release_goes_unless_told_not_to(
    values: tuple[str, ...], policies: list[str | None]
) -> None:
    found = of_kind("CustomResourceDefinition", *values)
    assert [o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for o in found] == policies


def test_workers_have_an_account_of_the_cloud_where_one_is_wanted() -> None:
    account = "worker.serviceAccount"
    values = (rf"{account}.annotations.eks\.amazonaws\.com/role-arn=arn", f"{account}.imagePullSecrets[0].name=pull")
    assert not [o for o in of_kind("ServiceAccount", *values) if o["metadata"]["name"] == "darwin-worker"]
    found = of_kind("ServiceAccount", "worker.namespaces={a,b}", *values)
    workers = [o for o in found if o["metadata"]["name"] == "darwin-worker"]
    assert [o["metadata"]["namespace"] for o in workers] == ["a", "b"]
    for worker in workers:
        assert worker["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn"}
        assert worker["imagePullSecrets"] == [{"name": "pull"}]
        assert worker["automountServiceAccountToken"] is False


def test_the_service_leads_to_the_operator_and_not_to_the_tests_pod() -> None:
    found = {o["kind"]: o for o in rendered()}
    selected = found["Service"]["spec"]["selector"].items()
    assert selected <= found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert not selected <= found["Pod"]["metadata"]["labels"].items()
    (port,) = found["Service"]["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in container()["ports"]}


def test_prometheus_operator_finds_the_service_and_runs_keep_their_namespace() -> None:
    found = {o["kind"]: o for o in rendered("metrics.serviceMonitor.additionalLabels.release=p", flags=[MONITORING])}
    monitor, service = found["ServiceMonitor"], found["Service"]
    assert monitor["metadata"]["labels"]["release"] == "p"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["path"], endpoint["honorLabels"]) == ("/metrics", True)
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize(
    ("kind", "value"), [("ServiceMonitor", "serviceMonitor"), ("PrometheusRule", "prometheusRule")]
)
def test_what_prometheus_operator_reads_is_made_where_its_api_is_or_where_told_to(
    watched: Path, kind: str, value: str
) -> None:
    enabled = f"metrics.{value}.enabled"
    assert not of_kind(kind, chart=watched)
    assert of_kind(kind, chart=watched, flags=[MONITORING])
    assert of_kind(kind, f"{enabled}=true", chart=watched)
    assert not of_kind(kind, f"{enabled}=false", chart=watched, flags=[MONITORING])
    assert not of_kind(kind, "metrics.enabled=false", chart=watched, flags=[MONITORING])


def test_alerts_are_the_files_with_prometheus_own_templates_as_they_are(watched: Path) -> None:
    label = "metrics.prometheusRule.additionalLabels.release=p"
    (rule,) = of_kind("PrometheusRule", label, chart=watched, flags=[MONITORING])
    assert rule["spec"] == RULES
    assert rule["metadata"]["labels"]["release"] == "p"


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds(watched: Path) -> None:
    values = ("metrics.dashboards.namespace=grafana", "metrics.dashboards.annotations.grafana_folder=Darwin")
    found = of_kind("ConfigMap", *values, chart=watched)
    assert [list(o["data"]) for o in found] == [["one.json"], ["two.json"]]
    for one in found:
        assert [json.loads(text) for text in one["data"].values()] == [DASHBOARD]
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "Darwin"}
        assert one["metadata"]["namespace"] == "grafana"


def test_the_dashboards_of_the_chart_are_its_files_byte_for_byte_and_fit_into_a_config_map() -> None:
    found = {name: text for o in of_kind("ConfigMap") for name, text in o["data"].items()}
    assert found == {file.name: file.read_text() for file in DASHBOARDS}
    assert max(len(text.encode()) for text in found.values()) < CONFIG_MAP_BYTES / 4


def test_the_alerts_of_the_chart_are_its_file() -> None:
    (rule,) = of_kind("PrometheusRule", flags=[MONITORING])
    assert rule["spec"] == yaml.safe_load(RULES_FILE.read_text())


def test_dashboards_ask_for_grafanas_sidecar_and_not_for_prometheus_operator(watched: Path) -> None:
    assert len(of_kind("ConfigMap", chart=watched)) == 2
    assert not of_kind("ConfigMap", "metrics.dashboards.enabled=false", chart=watched)


def test_a_network_policy_lets_in_who_scrapes_and_helms_test_and_out_to_the_api_server_and_dns() -> None:
    values = ("networkPolicy.enabled=true", "networkPolicy.from[0].podSelector.matchLabels.app=prometheus")
    found = {o["kind"]: o for o in rendered(*values)}
    spec = found["NetworkPolicy"]["spec"]
    assert spec["podSelector"]["matchLabels"] == found["Deployment"]["spec"]["selector"]["matchLabels"]
    (ingress,) = spec["ingress"]
    assert ingress["ports"] == [{"port": "http"}]
    prometheus, ours = (peer["podSelector"]["matchLabels"] for peer in ingress["from"])
    assert prometheus == {"app": "prometheus"}
    assert ours.items() <= found["Pod"]["metadata"]["labels"].items()
    assert [{port["port"] for port in rule["ports"]} for rule in spec["egress"]] == [{443, 6443}, {53}]


def test_what_a_platform_wants_of_a_pod_is_given_to_it() -> None:
    values = (
        *("nodeSelector.pool=cpu", "tolerations[0].operator=Exists", "priorityClassName=high", "podLabels.team=a"),
        *("imagePullSecrets[0].name=pull", "extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=p"),
        *("affinity.nodeAffinity.x=y", "podAnnotations.why=because"),
    )
    (deployment,) = of_kind("Deployment", *values)
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["annotations"] == {"why": "because"}
    assert pod["spec"]["nodeSelector"] == {"pool": "cpu"}
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert pod["spec"]["priorityClassName"] == "high"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["spec"]["affinity"] == {"nodeAffinity": {"x": "y"}}
    assert container(*values)["env"] == [{"name": "HTTPS_PROXY", "value": "p"}]


def test_a_label_of_the_charts_own_is_not_overwritten_by_one_of_the_pods() -> None:
    (deployment,) = of_kind("Deployment", r"podLabels.app\.kubernetes\.io/name=other")
    selector = deployment["spec"]["selector"]["matchLabels"].items()
    assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "kubectl --namespace NAMESPACE create secret generic s3"),
        (["watchNamespaces={a}"], "kubectl --namespace a apply --filename merge.yaml"),
        (["worker.namespaces={b}"], "spec.cluster.template.serviceAccountName: darwin-worker"),
        (["crds.enabled=false"], "kubectl get crd darwinmerges.darwinmerge.io"),
        (["rbac.create=false"], f"bind them to the ServiceAccount {NAME}"),
    ],
)
def test_its_notes_say_the_next_command(values: list[str], says: str) -> None:
    flags = [f"--set={value}" for value in values]
    done = helm("install", "darwin", CHART, "--namespace=system", "--dry-run=client", *flags)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout.partition("NOTES:")[2]
