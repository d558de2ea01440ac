"""What helm renders, line by line, for a matrix of values: a change of the chart shows its effect in the diff.

`make snapshots` writes them anew. What the chart only carries as a file (CRD, alerts, dashboards) stays out of them and
has tests of its own, and the version reads VERSION, so that a release changes none.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from darwinmerge import __version__
from tests.charted import MONITORING, template

FOLDER = Path(__file__).parent / "snapshots" / "chart"
CARRIED = ("crd.yaml", "prometheusrule.yaml", "dashboards.yaml")  # templates around a file
RENEW = os.environ.get("DARWIN_RENEW_SNAPSHOTS")

CASES: dict[str, Mapping[str, Any]] = {
    "default": {},
    "namespaces": {"watchNamespaces": ["team-a", "team-b"], "rbac": {"aggregate": False}, "crds": {"enabled": False}},
    "bare": {
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "given"},
        "metrics": {"enabled": False},
    },
    "platform": {
        "imageRegistry": "registry.example:5000",
        "image": {"digest": "sha256:" + "1" * 64},
        "workerImage": {"registry": "workers.example/team", "tag": "w"},
        "imagePullSecrets": [{"name": "pull"}],
        "watchNamespaces": ["team-a"],
        "kueue": {"enabled": True},
        "serving": {"enabled": True},
        "serviceAccount": {"annotations": {"owner": "platform"}},
        "worker": {
            "namespaces": ["team-a", "team-b"],
            "serviceAccount": {
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/darwin"},
                "imagePullSecrets": [{"name": "pull"}],
            },
        },
        "log": {"format": "text", "level": "debug"},
        "port": 9090,
        "extraEnv": [
            {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url", "optional": True}}}
        ],
        "podLabels": {"team": "platform"},
        "podAnnotations": {"why": "because"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "cpu", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
                }
            }
        },
        "metrics": {
            "serviceMonitor": {"enabled": True, "interval": "1m", "additionalLabels": {"release": "prometheus"}},
            "testHost": "operator.example",
        },
        "networkPolicy": {
            "enabled": True,
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "apiServer": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
            "apiServerPorts": [6443],
        },
    },
}


def snapshot(values: Mapping[str, Any], *flags: str) -> str:
    """The documents in helm's order, each with the name of its template."""
    parts = template(*flags, values=values).replace(__version__, "VERSION").split("\n---\n")
    kept = [part for part in parts if not any(f"templates/{name}\n" in part for name in CARRIED)]
    return "\n---\n".join(part.strip() for part in kept) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_what_was_reviewed(case: str) -> None:
    file = FOLDER / f"{case}.yaml"
    text = snapshot(CASES[case])
    if RENEW:
        file.write_text(text)
    assert file.read_text() == text, "run `make snapshots` and read the diff"


def test_prometheus_operators_api_adds_a_service_monitor_besides_what_the_chart_only_carries() -> None:
    before, after = (set(snapshot({}, *flags).split("\n---\n")) for flags in ([], [MONITORING]))
    (added,) = {part.strip() for part in after} - {part.strip() for part in before}
    assert "kind: ServiceMonitor" in added


def test_no_snapshot_is_of_a_case_that_is_gone() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(CASES)
