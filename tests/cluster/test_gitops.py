"""What is applied from git takes effect, applied by the client or by the server; the examples are taken as they are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.argocd import HEALTH
from tests.cluster.conftest import Kubernetes, kubectl, until
from tests.cluster.operated import RUN_SECONDS, Operator, Run
from tests.clustered import edited
from tests.unit.test_gitops import GITOPS

pytestmark = pytest.mark.cluster

AS_FLUX = ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller")  # Argo CD does it if asked to


@pytest.fixture(scope="module")
def _operator(kubernetes: Kubernetes, merges: Any, furnished: str, images: tuple[str, str]) -> Iterator[None]:
    operator = Operator(kubernetes, furnished, "gitops")
    operator.install(*images)
    yield
    operator.uninstall()


@pytest.mark.slow
@pytest.mark.usefixtures("_operator")
@pytest.mark.parametrize("flags", [(), AS_FLUX], ids=["client-side", "server-side"])
def test_suspend_in_git_gives_everything_back_and_the_run_goes_on_without_it(
    small_run: Callable[[str], Run], flags: tuple[str, ...]
) -> None:
    name = f"git-{len(flags)}"
    plain = small_run(name)
    run = replace(plain, document=edited(plain.document, {"metadata.name": name}))
    run.by_kubectl("apply", *flags, cluster__suspend=True)
    run.wait("Suspended")
    assert not run.jobs()
    run.by_kubectl("apply", *flags)  # the field is gone from git
    until(run.running)
    run.by_kubectl("apply", *flags, cluster__suspend=True)
    until(lambda: run.condition("Suspended") and not run.jobs())
    run.by_kubectl("diff", *flags, cluster__suspend=True)
    run.delete()


@pytest.mark.slow
@pytest.mark.usefixtures("_operator")
def test_parallelism_raised_in_git_is_that_of_a_run_that_goes_on(small_run: Callable[[str], Run]) -> None:
    name = "git-parallel"
    plain = small_run(name)
    changes = {"metadata.name": name, "spec.evolution.candidates": 6, "spec.cluster.candidatesPerJob": 1}
    run = replace(plain, document=edited(plain.document, changes))
    run.by_kubectl("apply", cluster__parallelism=1)

    def working() -> int:
        return sum("-report-" not in pod["metadata"]["name"] for pod in run.running())

    until(lambda: run.running("-score-"), RUN_SECONDS)
    assert working() == 1
    run.by_kubectl("apply", cluster__parallelism=3)
    until(lambda: working() == 3)
    run.by_kubectl("apply", cluster__parallelism=1)
    until(lambda: working() == 1)
    run.delete()


@pytest.mark.usefixtures("merges")
def test_the_examples_build_and_the_server_takes_the_experiment_and_its_namespace(
    make_namespace: Callable[..., str], tmp_path: Path
) -> None:
    built = list(yaml.safe_load_all(kubectl("kustomize", GITOPS / "experiments" / "team-a")))
    kinds = {one["kind"]: one for one in built}
    assert {one["metadata"].get("namespace", "team-a") for one in built} == {"team-a"}
    namespace = make_namespace({})
    for kind, into in (("Namespace", []), ("DarwinMerge", ["--namespace", namespace])):
        manifest = edited(kinds[kind], {} if kind == "Namespace" else {"metadata.namespace": namespace})
        (tmp_path / "one.yaml").write_text(yaml.safe_dump(manifest))
        kubectl("apply", "--dry-run=server", "--validate=strict", *into, "--filename", tmp_path / "one.yaml")


def test_the_health_check_is_added_to_argo_cds_settings_and_the_rest_of_them_stays(
    kubernetes: Kubernetes, make_namespace: Callable[..., str], tmp_path: Path
) -> None:
    namespace = make_namespace({})
    metadata = {"name": "argocd-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}}
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"url": "https://argocd.example"},
    }
    kubernetes.create(settings, namespace)
    added = kubectl("kustomize", HEALTH.parent).replace("namespace: argocd", f"namespace: {namespace}")
    (tmp_path / "settings.yaml").write_text(added)
    kubectl("apply", "--server-side", "--filename", tmp_path / "settings.yaml")
    data = kubernetes.of("ConfigMap").get(name="argocd-cm", namespace=namespace).to_dict()["data"]
    assert data.pop("resource.customizations.health.darwinmerge.io_DarwinMerge") == HEALTH.read_text()
    assert data == settings["data"]
