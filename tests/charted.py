"""The chart, rendered by the real helm; for tests."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge_operator.main import operator

CHART = Path(__file__).parents[1] / "charts" / "darwin-operator"
MONITORING = "--api-versions=monitoring.coreos.com/v1"  # as in a cluster that has Prometheus Operator
NAME = "darwin-darwin-operator"
Json = dict[str, Any]


def helm(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm")
    if program is None:
        pytest.skip("helm isn't on PATH: https://helm.sh/docs/intro/install")
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, input=given)


def template(*flags: str, values: Mapping[str, Any] | None = None, chart: Path = CHART) -> str:
    """What helm renders of a release called `darwin` in the namespace `system`."""
    more = ["--values=-"] if values else []
    done = helm("template", "darwin", chart, "--namespace=system", *more, *flags, given=json.dumps(values or {}))
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Json]:
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(*values: str, flags: Sequence[str] = (), chart: Path = CHART) -> list[Json]:
    """The objects of the release, with values as `--set` takes them."""
    return objects(template(*(f"--set={value}" for value in values), *flags, chart=chart))


def of_kind(kind: str, *values: str, flags: Sequence[str] = (), chart: Path = CHART) -> list[Json]:
    return [one for one in rendered(*values, flags=flags, chart=chart) if one["kind"] == kind]


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
