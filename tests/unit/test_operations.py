"""Documents for operations say what is so: every reason, computed sizes, one version; workflows call what is there."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from darwinmerge_operator.crd import crd
from darwinmerge_operator.job import scratch_bytes
from darwinmerge_operator.status import REASONS, ConditionType
from kubectl_darwin.remedy import REMEDIES
from tests.unit.test_docs import PAGES, ROOT, TARGETS, commands

OPERATIONS = ROOT / "docs" / "operations"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGE = (OPERATIONS / "troubleshooting.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("condition", REASONS)
def test_troubleshooting_has_every_reason_of_a_condition_and_no_other(condition: ConditionType) -> None:
    told = re.findall(r"^\| `(\w+)` \|", SECTIONS[condition], re.MULTILINE)
    assert sorted(told) == sorted(REASONS[condition])


@pytest.mark.parametrize(("parameters", "model"), [(9e9, "9 B"), (70e9, "70 B")])
def test_the_scratch_that_is_told_is_the_one_that_is_requested(parameters: float, model: str) -> None:
    head, *rows = [line.split(" | ") for line in (OPERATIONS / "sizes.md").read_text().splitlines() if "|" in line]
    (row,) = [row for row in rows if row[0].startswith("| scratch")]
    column = next(number for number, cell in enumerate(head) if cell.strip("| ") == model)
    both = int(4 * parameters)
    assert row[column].strip("| ") == f"{scratch_bytes(both) / 2**30:.1f} GiB"


def test_package_chart_and_images_are_of_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts" / "darwin-operator" / "Chart.yaml").read_text())
    assert (chart["version"], str(chart["appVersion"])) == (version, version)


SPEC = re.compile(r"\bspec(?:\.[a-zA-Z]+(?:\[\])?)+")
ANOTHER = "another DarwinMerge"  # with which what can't change may be told


def spec_paths(text: str) -> set[str]:
    """Fields of a DarwinMerge that a text names by their whole path."""
    return {path.replace("[]", "") for path in SPEC.findall(text)}


def known(path: str) -> bool:
    """Whether the CRD has a field; below what it doesn't type, anything may stand."""
    node = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path.split("."):
        node = node.get("items", node)
        if "properties" not in node:
            return bool(node.get("additionalProperties") or node.get("x-kubernetes-preserve-unknown-fields"))
        if name not in node["properties"]:
            return False
        node = node["properties"][name]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_field_that_a_page_names_is_one_of_the_resource(page: Path) -> None:
    assert sorted(path for path in spec_paths(page.read_text()) if not known(path)) == []


RUNBOOKS = (OPERATIONS / "runbooks.md").read_text()
ADVICE = [*REMEDIES.values(), *re.findall(r"^\*\*Remedy\.\*\* (.*?)(?=\n\n|\Z)", RUNBOOKS, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("advice", ADVICE)
def test_what_is_advised_for_a_run_that_is_there_is_a_field_that_exists_and_may_change(advice: str) -> None:
    paths = spec_paths(advice)
    assert sorted(path for path in paths if not known(path)) == []
    changes = re.compile(r"spec\.cluster(?!\.execution)\b.*|spec\.evolution\.steps")
    fixed = [path for path in paths if not changes.fullmatch(path)]
    assert not fixed or ANOTHER in " ".join(advice.split())


def links(page: Path) -> Iterator[str]:
    """Files that a page points to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", page.read_text())):
        if "://" not in target and not target.startswith("#"):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_points_to_is_there(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_every_page_of_operations_is_in_their_list() -> None:
    listed = {target for target in links(OPERATIONS / "README.md") if "/" not in target}
    assert listed == {path.name for path in OPERATIONS.iterdir()} - {"README.md"}


def test_json_in_the_pages_is_json_and_yaml_is_yaml() -> None:
    for page in PAGES:
        for language, text in re.findall(r"^```(json|yaml)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            json.loads(text) if language == "json" else list(yaml.safe_load_all(text))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_exist_and_actions_by_digest(workflow: Path) -> None:
    text = workflow.read_text()
    steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    for step in steps:
        assert "uses" in step or "run" in step
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))
    lines = "".join(f"```sh\n{step['run']}\n```\n" for step in steps if "run" in step)
    made = [word for words in commands(lines) if words[:1] == ["make"] for word in words[1:] if "=" not in word]
    assert made
    assert set(made) <= TARGETS
