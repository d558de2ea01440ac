"""A real API server takes every object of the chart, and Pod Security's `restricted` its Pod."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from darwinmerge_operator.crd import crd
from tests.cluster.conftest import Kubernetes, kubectl, program, until
from tests.cluster.operated import CHART, Operator, Run

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("everywhere", [True, False], ids=["everywhere", "somewhere"])
def test_every_object_is_valid_and_its_pod_is_restricted(
    kubernetes: Kubernetes, restricted: str, everywhere: bool, tmp_path: Path
) -> None:
    where = [] if everywhere else ["--set", f"watchNamespaces={{{restricted}}}"]
    more = ["--set", f"networkPolicy.enabled=true,kueue.enabled=true,worker.namespaces={{{restricted}}}"]
    text = program("helm", "template", "darwin", CHART, "--namespace", restricted, *where, *more)
    (tmp_path / "chart.yaml").write_text(text)
    kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", tmp_path / "chart.yaml")
    objects = [o for o in yaml.safe_load_all(text) if o]
    pods = [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"]
    pods += [o["spec"] for o in objects if o["kind"] == "Pod"]
    assert len(pods) == 2
    for spec in pods:
        spec = {**spec, "serviceAccountName": "default"}  # its own isn't there
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
        kubernetes.create(pod, restricted, dry=True)


def test_it_is_installed_upgraded_uninstalled_and_installed_again_over_its_crd(
    kubernetes: Kubernetes, images: tuple[str, str], small_run: Callable[[str], Run]
) -> None:
    run = small_run("installed-again")
    operator = Operator(kubernetes, run.namespace, "again")
    everything = ("crds.enabled=true", "rbac.aggregate=true", "metrics.testHost=127.0.0.1")
    kubectl("delete", "--wait", "crd", crd()["metadata"]["name"])
    try:
        operator.install(*images, *everything)
        run.apply()
        until(lambda: run.condition("Ready"))
        operator.install(*images, *everything, "log.level=debug")
        program("helm", "test", operator.release, "--namespace", run.namespace, "--timeout", "60s")
        operator.uninstall()
        assert run.condition("Ready"), "its DarwinMerges are still there"
        operator.install(*images, *everything)
        run.wait("Complete")
        for role, verbs in {"view": ["get"], "edit": ["get", "create", "patch", "delete"]}.items():
            kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er", "-n", run.namespace)
            able = {verb for verb in ("get", "create", "patch", "delete") if can(run.namespace, f"{role}er", verb)}
            assert able == {*verbs}
    finally:
        run.delete()
        operator.uninstall()
        kubernetes.apply(crd())


def can(namespace: str, user: str, verb: str) -> bool:
    """Whether a user may do that with DarwinMerges."""
    command = ["kubectl", "auth", "can-i", verb, "darwinmerges", "--namespace", namespace, f"--as={user}"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() == "yes"
