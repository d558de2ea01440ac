"""`kubectl darwin` on a real run, called as people do: through kubectl, which finds it on PATH.

The run's store has what one machine has already computed, but for the candidates: only they are computed, and the rest
is found.
"""

import csv
import io
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge import __version__
from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.claim import recorded
from darwinmerge.pipeline.plan import walk
from darwinmerge.store import layout, open_store
from darwinmerge_operator.resource import KIND
from tests.cluster.conftest import Kubernetes, kubectl, until
from tests.cluster.operated import Operator, Run
from tests.cluster.person import Person, Terminal
from tests.integration.conftest import World
from tests.s3 import BUCKET, S3

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@dataclass(frozen=True)
class Story:
    """A run from its beginning to its end, and what the person saw meanwhile."""

    run: Run
    person: Person
    before: Mapping[str, str]  # validate and retry
    working: str  # status, while a candidate is computed
    seen: Mapping[str, Any]  # the same as JSON
    suspended: str  # status
    retried: str  # refused, while it is suspended
    left: int  # Pods that ran on, once it was suspended
    screen: str  # all that `status -w` wrote to a terminal
    followed: str  # what `logs -f` printed


@pytest.fixture(scope="module")
def story(
    kubernetes: Kubernetes,
    images: tuple[str, str],
    small_run: Callable[[str], Run],
    on_one_machine: World,
    parents_in_s3: S3,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """The run, at its end."""
    run, manifest = small_run("plugin"), tmp_path_factory.mktemp("plugin") / "merge.yaml"
    _furnish(run, on_one_machine)
    manifest.write_text(yaml.safe_dump(run.document))
    credentials = parents_in_s3.environment("reader")
    endpoint = credentials.pop("AWS_ENDPOINT_URL_S3")  # the manifest has it
    assert endpoint == run.document["spec"]["cluster"]["store"]["endpoint"]
    person = Person(run.namespace, credentials)
    operator = Operator(kubernetes, run.namespace)
    operator.install(*images)
    before = {"validate": person.told("validate", "-f", str(manifest)), "retry": person.refused("retry", "tiny")}
    run.apply()
    screen = Terminal(person, "status", "tiny", "-w", "--interval", "0.5")
    call = ["kubectl", "darwin", "logs", "tiny", "-f", "-n", run.namespace]
    follower = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=person.environment())
    until(lambda: run.running("score"))
    working, seen = person.told("status", "tiny"), json.loads(person.told("status", "tiny", "-o", "json"))
    assert "suspended" in person.told("suspend", "tiny")
    until(lambda: run.condition("Suspended"))
    until(lambda: not run.running())
    suspended, retried, left = person.told("status", "tiny"), person.refused("retry", "tiny"), len(run.running())
    assert "resumed" in person.told("resume", "tiny")
    run.wait("Complete")
    until(lambda: not run.jobs())
    followed, _ = follower.communicate(timeout=60)
    yield Story(run, person, before, working, seen, suspended, retried, left, screen.all(), followed)
    run.delete()
    operator.uninstall()


def _furnish(run: Run, world: World) -> None:
    """Give a run's store what one machine has found out, but for the candidates' scores and what is told of places."""
    store, x = open_store(str(world.store)), experiment_of(load(world.manifest), world.folder)
    generations = walk(x, recorded(store)).generations
    apart = {layout.result(task.stage, task.id) for generation in generations for task in generation.tasks}
    for stat in store.list(""):
        if stat.key not in apart and not stat.key.startswith(("summary.", "report.", "scores/")):
            run.bucket.put_object(Bucket=BUCKET, Key=run.prefix + stat.key, Body=store.read(stat.key))


# Before it runs, and while it does.


def test_a_manifest_is_checked_offline_and_by_the_api_server(story: Story) -> None:
    assert "valid" in story.before["validate"]
    assert f"would be created in namespace {story.run.namespace}" in story.before["validate"]


def test_a_run_that_is_not_there_is_told_with_those_there_are(story: Story) -> None:
    assert "no DarwinMerge tiny" in story.before["retry"] and "there is none" in story.before["retry"]
    assert "there are: tiny" in story.person.refused("status", "tinny")


def test_the_screen_shows_what_runs_where(story: Story) -> None:
    nodes = {one["node"] for one in story.seen["working"] if one["state"] == "running"}
    assert nodes and all(node in story.working for node in nodes)
    assert "generation 1/1, candidate 1/2" in story.working
    assert "search rows Father" in story.working


def test_suspended_it_has_no_pods_says_what_helps_and_tries_nothing(story: Story) -> None:
    assert story.left == 0
    assert "kubectl darwin resume goes on" in story.suspended
    assert "is suspended" in story.retried


def test_watched_it_is_one_screen_until_the_end(story: Story) -> None:
    assert "\x1b[?1049h" in story.screen and "\x1b[?1049l" in story.screen
    assert "Suspended" in story.screen
    assert "Complete" in story.screen.rpartition("\x1b[?1049l")[2]


def test_followed_logs_go_on_up_to_the_last_pod(story: Story) -> None:
    lines = [json.loads(line) for line in story.followed.splitlines() if line.startswith("{")]
    assert {line.get("stage") for line in lines} >= {"score"}
    assert lines[-1]["event"] == "end"


# Once it has ended.


def test_the_list_is_that_of_kubectl_get(story: Story) -> None:
    head, row = story.person.told("status").splitlines()
    assert head.split() == ["NAME", "PHASE", "GEN", "EVALS", "BEST", "VS-PARENTS", "ETA", "AGE"]
    assert row.split()[:4] == ["tiny", "Complete", "1/1", "2/2"]


def test_its_numbers_are_those_of_the_status(story: Story) -> None:
    status, told = story.run.status(), json.loads(story.person.told("status", "tiny", "-o", "json"))
    assert told["status"]["verdict"] == status["verdict"]
    assert told["fitness"][0]["best"] == pytest.approx(status["best"]["score"])
    rows = list(csv.DictReader(io.StringIO(story.person.told("history", "tiny", "-o", "csv"))))
    assert [(row["generation"], row["candidate"]) for row in rows] == [("1", "1"), ("1", "2")]
    assert max(float(row["score"]) for row in rows) == pytest.approx(status["best"]["score"])


def test_history_takes_the_seconds_from_the_store(story: Story) -> None:
    rows = json.loads(story.person.told("history", "tiny", "--seconds", "-o", "json"))
    assert all(row["seconds"] > 0 for row in rows)


def test_the_best_one_is_the_child_tensor_by_tensor(story: Story) -> None:
    best, child = yaml.safe_load(story.person.told("best", "tiny", "--recipe")), story.run.status()["child"]
    record = json.loads(story.run.read(f"children/{child['recipe'][:16]}/darwin.json"))
    assert best["recipe"] == child["recipe"] == record["recipeId"]
    assert best["tensors"] == record["recipe"]["decisions"]
    assert best["child"] == child["uri"]


def test_logs_outlive_their_pods(story: Story) -> None:
    done = story.person.asks("logs", "tiny", "--candidate", "1/2", "--tail", "1")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["generation"], last["candidate"], last["event"]) == (1, 1, "end"), "lines count candidates from 0"
    assert "/logs/score-" in done.stderr


def test_logs_of_a_stage_outlive_its_pods(story: Story) -> None:
    done = story.person.asks("logs", "tiny", "--stage", "score", "--tail", "1")
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["stage"] for line in done.stdout.splitlines()} == {"score"}
    assert "/logs/score-" in done.stderr


def test_without_credentials_of_ones_own_the_store_is_not_read_and_why_is_said(story: Story) -> None:
    told = story.person.refused("report", "tiny", s3=False)
    assert "S3 credentials of your own" in told and "the Secret s3, which is not read" in told
    assert "AWS_PROFILE" in told


def test_the_report_is_fetched(story: Story, tmp_path: Path) -> None:
    assert "kB" in story.person.told("report", "tiny", "-o", str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_bytes() == story.run.read("report.html")


def test_without_a_file_to_go_to_the_report_is_opened_in_the_browser(story: Story, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(0o755)
    place = story.person.told("report", "tiny", BROWSER=str(browser)).partition(" (")[0]
    assert opened.read_text().strip() == Path(place).as_uri()
    assert Path(place).read_bytes() == story.run.read("report.html")


def test_a_run_that_has_ended_is_not_tried_again(story: Story) -> None:
    assert "is Complete" in story.person.refused("retry", "tiny")


def test_two_runs_are_compared_by_what_was_asked_and_what_came_of_it(story: Story) -> None:
    other = json.loads(json.dumps(story.run.document))
    other["metadata"]["name"], other["spec"]["seed"], other["spec"]["cluster"]["suspend"] = "other", 9, True
    kind = story.run.kubernetes.of(KIND)
    kind.create(other, story.run.namespace)
    try:
        told = json.loads(story.person.told("diff", "tiny", "other", "-o", "json"))
    finally:
        kind.delete("other", story.run.namespace)
    assert told["spec"] == {"spec.seed": [1, 9]}
    assert told["results"]["verdict"] == [story.run.status()["verdict"]["label"], ""]


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "lab:x"}}, "Argo CD (Application lab)"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "lab"}}, "Flux (Kustomization lab)"),
    ],
)
def test_what_git_keeps_is_changed_only_by_who_says_so(story: Story, marks: Mapping[str, Any], words: str) -> None:
    kind, place = story.run.kubernetes.of(KIND), {"name": "tiny", "namespace": story.run.namespace}
    merge = {"content_type": "application/merge-patch+json"}
    kind.patch({"metadata": marks}, **place, **merge)
    try:
        told = story.person.refused("suspend", "tiny")
        assert words in told and "--yes" in told
        assert not story.run.found()["spec"]["cluster"].get("suspend")
        assert "suspended" in story.person.told("suspend", "tiny", "--yes")
        fields = [entry["manager"] for entry in story.run.found()["metadata"]["managedFields"]]
        assert "kubectl-darwin" in fields
    finally:
        gone = {section: dict.fromkeys(names) for section, names in marks.items()}
        kind.patch({"metadata": gone, "spec": {"cluster": {"suspend": False}}}, **place, **merge)


def test_a_manifest_that_changes_what_cannot_change_is_refused_in_the_api_servers_words(
    story: Story, tmp_path: Path
) -> None:
    changed = json.loads(json.dumps(story.run.document))
    changed["spec"]["seed"] = 9
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(changed))
    assert "spec.seed is part of the experiment and can't change" in story.person.refused(
        "validate", "-f", str(tmp_path / "m.yaml")
    )
    assert "not asked (--offline)" in story.person.told("validate", "-f", str(tmp_path / "m.yaml"), "--offline")


def test_a_right_that_is_missing_is_named(story: Story, tmp_path: Path) -> None:
    told = story.person.refused("status", "tiny", "--kubeconfig", str(_nobody(tmp_path)))
    assert 'User "nobody" cannot get resource "darwinmerges" in API group "darwinmerge.io"' in told


def _nobody(folder: Path) -> Path:
    """A kubeconfig of somebody who may do nothing, by impersonation."""
    found = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    found["users"][0]["user"]["as"] = "nobody"
    (folder / "kubeconfig").write_text(json.dumps(found))
    return folder / "kubeconfig"


def test_a_cluster_that_does_not_answer_is_another_exit_code(story: Story, tmp_path: Path) -> None:
    nobody = json.loads(_nobody(tmp_path).read_text())
    nobody["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "kubeconfig").write_text(json.dumps(nobody))
    done = story.person.asks("status", "tiny", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert done.returncode == ExitCode.STORE_UNREACHABLE
    assert "doesn't answer" in done.stderr and "Traceback" not in done.stderr


def test_nobody_who_reads_on_is_no_error(story: Story) -> None:
    call = f"set -o pipefail; kubectl darwin status tiny -n {story.run.namespace} | head -0"
    done = subprocess.run(
        ["bash", "-c", call], check=False, capture_output=True, text=True, env=story.person.environment()
    )
    assert done.stderr == ""


def test_it_says_its_version_and_what_the_cluster_knows(story: Story) -> None:
    told = story.person.told("version")
    assert __version__ in told and "darwinmerges.darwinmerge.io/v1alpha1" in told


def test_it_reads_no_secret(story: Story, parents_in_s3: S3) -> None:
    secret = parents_in_s3.keys["user"][1]
    assert secret not in story.screen + story.followed + story.working
