"""The chart's values: each is explained in its README, and a wrong one is refused by name."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from charts.manual import text, values
from tests.charted import CHART, helm


def keys(part: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in part.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")


def test_its_readme_is_the_one_that_the_values_say() -> None:
    assert (CHART / "README.md").read_text() == text(), "stale: run `make docs`"


def test_every_value_is_explained_or_part_of_one_that_is_explained_as_a_whole() -> None:
    written = (CHART / "values.yaml").read_text()
    explained = {value.path for value in values(written)}
    whole = {path for path in explained if not any(other.startswith(f"{path}.") for other in explained)}
    for key in keys(yaml.safe_load(written)):
        assert key in explained or any(key.startswith(f"{path}.") for path in whole), f"{key} has no comment"


def test_a_line_that_would_be_lost_is_found_out() -> None:
    with pytest.raises(ValueError, match="neither a comment nor a key"):
        list(values("# Some.\nsome:\n- one\n"))


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
        ("imageRegistry=https://r.example", "/imageRegistry"),
        ("image.registry=r example", "/image/registry"),
        ("imagePullSecrets={pull}", "/imagePullSecrets/0"),
        ("crds.keep=maybe", "/crds/keep"),
        ("rbac.aggregated=true", "aggregated"),
        ("serviceAccount.name=A", "/serviceAccount/name"),
        ("worker.namespaces={A}", "/worker/namespaces/0"),
        ("worker.serviceAccount.name=", "/worker/serviceAccount/name"),
        ("worker.serviceAccount.annotations.a=1", "/worker/serviceAccount/annotations/a"),
        ("extraEnv[0].value=x", "/extraEnv/0"),
        ("nodeSelector.gpu=true", "/nodeSelector/gpu"),
        ("tolerations={a}", "/tolerations/0"),
        ("podLabels.a=1", "/podLabels/a"),
        ("metrics.serviceMonitor.enabled=perhaps", "/metrics/serviceMonitor/enabled"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("metrics.prometheusRule.labels.a=b", "labels"),
        ("metrics.dashboards.namespace=A", "/metrics/dashboards/namespace"),
        ("networkPolicy.apiServerPorts={}", "/networkPolicy/apiServerPorts"),
        ("networkPolicy.from={a}", "/networkPolicy/from/0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, says: str) -> None:
    done = helm("template", CHART, f"--set={value}")
    assert done.returncode != 0
    assert says in done.stderr
