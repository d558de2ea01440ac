"""What operators asked of the API server in all the tests before is what the chart's Role allows: no less, no more."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import named, program
from tests.cluster.operated import CHART

pytestmark = pytest.mark.cluster

SERVERS = ("deployments", "services")
Right = tuple[str, str, str]  # API group, resource, verb


@pytest.fixture
def used() -> set[Right]:
    """What our operators asked for in this session, whatever the answer."""
    found: set[Right] = set()
    for line in Path(named("DARWIN_TEST_AUDIT_LOG")).read_text().splitlines():
        entry = json.loads(line)
        user, at = entry["user"]["username"], entry.get("objectRef") or {}
        if not user.startswith("system:serviceaccount:darwin-test-") or not user.endswith("-darwin-operator") or not at:
            continue
        resource = "/".join(part for part in (at["resource"], at.get("subresource")) if part)
        found.add((at.get("apiGroup", ""), resource, entry["verb"]))
    if len(found) < 5:
        pytest.skip("no operator has run in this session: run all of tests/cluster")
    return found


def allowed(kueue: bool, serving: bool) -> set[Right]:
    settings = {"rbac.aggregate": False, "kueue.enabled": kueue, "serving.enabled": serving}
    flags = [f"--set={name}={str(value).lower()}" for name, value in settings.items()]
    text = program("helm", "template", "darwin", CHART, *flags)
    (role,) = [found for found in yaml.safe_load_all(text) if found and found["kind"] == "ClusterRole"]
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_role_allows_what_is_asked_for_and_nothing_else(used: set[Right]) -> None:
    kueue = any(group == "kueue.x-k8s.io" for group, _, _ in used)  # where the cluster has it, its tests have run
    # what is applied and isn't there yet takes the right to create it, and is a patch in the log
    applied = {(group, kind, "create") for group, kind, verb in used if verb == "patch" and kind in SERVERS}
    assert used | applied == allowed(kueue, serving=bool(applied))
