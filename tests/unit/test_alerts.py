"""The chart's alerts by Prometheus' own tools: they are rules, they fire when they should, and each has a runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from charts.alerts import ALERTS, RUNBOOKS, rules, text
from charts.project import HOME, page
from tests.dashboarded import RULES
from tests.prometheus import installed
from tests.unit.test_docs import ROOT

CASES = Path(__file__).parent / "alerts.yaml"
RUNBOOK = (ROOT / RUNBOOKS).read_text()
FOUND = [rule for group in rules()["groups"] for rule in group["rules"]]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([installed("promtool"), *arguments], check=False, capture_output=True, text=True, timeout=60)


def test_the_charts_rules_are_those_of_this_version() -> None:
    assert RULES.read_text() == text(), "stale: run `make docs`"


def test_prometheus_takes_them_as_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(FOUND)} rules found" in done.stdout


def test_each_fires_when_it_should_and_in_its_own_words() -> None:
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("at", range(len(FOUND)), ids=[rule["alert"] for rule in FOUND])
def test_one_that_measures_nothing_is_found_out(at: int, tmp_path: Path) -> None:
    broken = rules()
    places = [rule for group in broken["groups"] for rule in group["rules"]]
    places[at]["expr"] = places[at]["expr"].replace("darwin_", "darvin_")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(broken))
    cases = yaml.safe_load(CASES.read_text()) | {"rule_files": ["rules.yaml"]}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))
    done = promtool("test", "rules", tmp_path / "cases.yaml")
    assert done.returncode != 0
    assert places[at]["alert"] in done.stdout + done.stderr


def test_each_is_seen_to_fire_and_not_to_fire() -> None:
    seen: dict[str, set[bool]] = {name: set() for name in ALERTS}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for check in case["alert_rule_test"]:
            seen[check["alertname"]].add(bool(check["exp_alerts"]))
    assert seen == {name: {False, True} for name in ALERTS}


def test_each_has_its_runbook_and_no_runbook_is_of_an_alert_that_is_gone() -> None:
    assert re.findall(r"^## (Darwin\w+)$", RUNBOOK, re.MULTILINE) == [*ALERTS]
    for rule in FOUND:
        address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert address == page(RUNBOOKS)
        assert anchor == rule["alert"].lower()


@pytest.mark.parametrize("section", re.findall(r"^## Darwin.*?(?=^## |\Z)", RUNBOOK, re.DOTALL | re.MULTILINE))
def test_a_runbook_says_what_it_means_what_it_costs_how_to_look_and_what_helps(section: str) -> None:
    assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Remedy"]
    assert "```sh\n" in section


def test_the_address_of_the_project_stands_in_one_place() -> None:
    assert HOME.startswith("https://")
    for name in ("alerts", "panels", "experiment", "operator"):
        assert "://" not in (ROOT / "charts" / f"{name}.py").read_text()
