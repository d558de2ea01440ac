"""A real API server takes every object of the chart, and Pod Security's `restricted` its Pod."""

from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import Kubernetes, kubectl, program
from tests.cluster.operated import CHART

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("everywhere", [True, False], ids=["everywhere", "somewhere"])
def test_every_object_is_valid_and_its_pod_is_restricted(
    kubernetes: Kubernetes, restricted: str, everywhere: bool, tmp_path: Path
) -> None:
    where = [] if everywhere else ["--set", f"watchNamespaces={{{restricted}}}"]
    text = program("helm", "template", "darwin", CHART, "--namespace", restricted, *where)
    (tmp_path / "chart.yaml").write_text(text)
    kubectl("create", "--dry-run=server", "--validate=strict", "--filename", tmp_path / "chart.yaml")
    (deployment,) = [o for o in yaml.safe_load_all(text) if o and o["kind"] == "Deployment"]
    spec = {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"}  # its own isn't there
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}
    kubernetes.create(pod, restricted, dry=True)
