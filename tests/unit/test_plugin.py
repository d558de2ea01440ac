"""`kubectl darwin`: what it makes of what an API server says, without one."""

import csv
import io
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from kubernetes import client
from rich.console import Console

from darwinmerge.checkpoint.commits import at_commits
from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.tasks import candidate_of
from darwinmerge_operator.decision import Policy
from darwinmerge_operator.resource import from_api
from darwinmerge_operator.status import REASONS, Condition, Status
from kubectl_darwin import diff, gitops, history, logs, screen, status
from kubectl_darwin.best import made_of
from kubectl_darwin.chart import BARS, spark
from kubectl_darwin.cluster import Cluster, Unreachable
from kubectl_darwin.found import Found, Point, age, told
from kubectl_darwin.main import COMMANDS, cli
from kubectl_darwin.remedy import REMEDIES, matters
from tests.clustered import edited, small
from tests.unit.looks import Looks, running
from tests.unit.plan_world import World, experiment

NAMES = [name for names in COMMANDS.values() for name in names]
MADE = "2026-01-01T00:00:00Z"


def at(looks: Looks, **more: Any) -> Found:
    """What is found of a run at its last look."""
    metadata = {"name": "small", "namespace": "lab", "uid": "u", "creationTimestamp": MADE}
    written = looks.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    run = {**small(), "metadata": metadata, "status": written}
    return told(run, looks.x, looks.ledger, looks.jobs, **more)


def finished(**world: Any) -> Looks:
    looks = Looks(experiment(steps=2, candidates=3), Policy(parallelism=1))
    looks.all(World(grain=1e-9, **world))
    return looks


def evolving() -> Looks:
    """A run with a candidate that runs."""
    looks = Looks(experiment(steps=2, candidates=3), Policy(parallelism=1))
    started = looks.step().start
    while not any(start.orders.orders and candidate_of(start.orders.orders[0].task.inputs) for start in started):
        looks.finish(World(grain=1e-9), started)
        started = looks.step().start
    looks.with_jobs(pods=running(looks.now - 90))
    looks.step()
    return looks


def shown(found: Found, now: float = 0.0) -> str:
    console = Console(width=200, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen.screen(found, now))
    return captured.get()


# One run.


def test_a_finished_run_is_told_with_its_verdict_scores_and_every_number_of_its_status() -> None:
    looks = finished()
    text = shown(at(looks))
    label = looks.status.verdict and looks.status.verdict.label
    assert f"Complete: {label}" in text
    assert "generation  2 of 2; 6 of 6 candidates, 0 rejected" in text
    assert looks.status.shown and looks.status.shown.vs_parents in text
    assert "100%" in text
    assert "fitness     generations 1 to 2" in text


def test_a_run_that_goes_on_names_its_pods_by_what_they_are_for_with_node_and_age() -> None:
    looks = evolving()
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "gpu-7"}}
    found = at(looks, pods=[pod])
    (one,) = found.working
    assert (one.what, one.node, one.state) == ("generation 1/2, candidate 1/3", "gpu-7", "running")
    line = next(line for line in shown(found, looks.now).splitlines() if "gpu-7" in line)
    assert "candidate 1/3" in line and "running" in line


def test_a_pod_that_cannot_start_says_why_in_the_api_servers_words() -> None:
    looks = evolving()
    pod = looks.jobs[-1].pods[0].model_copy(update={"running_since": None, "waits": "Unschedulable: 0/1 nodes"})
    looks.with_jobs(pods=(pod,))
    assert at(looks).working[0].state == "Unschedulable: 0/1 nodes"


def test_what_is_wrong_stands_first_with_what_helps() -> None:
    stalled = Condition(
        type="Stalled", status="True", reason="OutOfMemory", message="eval: killed", last_transition_time=MADE
    )
    looks = evolving()
    looks.statuses.append(looks.status.model_copy(update={"phase": "Stalled", "conditions": (stalled,)}))
    lines = shown(at(looks)).splitlines()
    first = next(number for number, line in enumerate(lines) if "Stalled: OutOfMemory: eval: killed" in line)
    assert first <= 2
    assert lines[first + 1].strip() == f"what helps: {REMEDIES['OutOfMemory']}"


def test_a_run_that_no_operator_has_seen_says_so() -> None:
    run = {**small(), "metadata": {"name": "small", "namespace": "lab", "creationTimestamp": MADE}}
    found = told({**run, "status": {"observedGeneration": -1}}, None, None)
    assert "not seen by an operator yet" in shown(found)
    assert "not seen by an operator yet" in screen.one_line(found)


def test_what_may_not_be_read_is_named() -> None:
    found = at(finished()).model_copy(update={"missing": ('pods is forbidden: User "u" cannot list',)})
    assert 'not shown: pods is forbidden: User "u" cannot list' in shown(found)


def test_a_watch_outlives_an_api_server_that_is_away_and_says_so() -> None:
    def look() -> list[Found]:
        raise Unreachable("connection refused")

    (found,) = status._again(look, [at(finished())])
    assert found.status.phase == "Complete" and "not shown: anything newer: connection refused" in shown(found)


def test_markup_in_a_message_is_text() -> None:
    event = {"lastTimestamp": MADE, "metadata": {}, "reason": "Stalled", "message": "[bold]x[/bold]"}
    assert "[bold]x[/bold]" in shown(at(finished(), events=[event]))


@pytest.mark.parametrize("kind", ["Stalled", "Failed"])
def test_every_reason_that_needs_somebody_has_a_remedy(kind: Any) -> None:
    assert set(REASONS[kind]) <= set(REMEDIES)


def test_no_remedy_is_for_a_reason_that_does_not_exist() -> None:
    assert set(REMEDIES) <= {reason for reasons in REASONS.values() for reason in reasons}


def test_conditions_that_say_that_all_is_well_are_not_told() -> None:
    conditions = finished().status.conditions
    assert {one.type for one in conditions if not matters(one)} >= {"Accepted", "Ready"}


# Fitness.


def point(generation: int, best: float | None) -> Point:
    return Point(generation=generation, best=best, mean=best, scored=int(best is not None), rejected=0)


def test_bars_reach_from_the_lowest_score_to_the_highest_and_a_generation_without_one_is_a_dot() -> None:
    head, best, _ = spark([point(1, 0.5), point(2, None), point(3, 0.7)], None)
    assert f"{BARS[0]}·{BARS[-1]}  0.700" in best
    assert "generations 1 to 3, 0.500 to 0.700" in head


def test_the_better_parent_is_on_the_same_scale() -> None:
    head, best, _ = spark([point(1, 0.7)], 0.5)
    assert "better parent 0.500" in head and BARS[-1] in best


def test_scores_that_are_all_the_same_and_no_scores_are_fine() -> None:
    assert spark([point(1, 0.5), point(2, 0.5)], 0.5)
    assert spark([], 0.5) == spark([point(1, None)], 0.5) == []


# Candidates.


def test_the_history_has_every_candidate_with_its_genes_and_why_one_was_rejected() -> None:
    looks = Looks(experiment(steps=3, candidates=4), Policy(parallelism=1))
    looks.all(World(grain=1e-9, rejects=0.3))
    state = at(looks).state
    assert state
    read = list(csv.DictReader(io.StringIO(history.as_csv(history.rows_of(state, {(1, 0): 12.5})))))
    assert [(row["generation"], row["candidate"]) for row in read[:5]] == [("1", str(c)) for c in "1234"] + [("2", "1")]
    assert read[0]["seconds"] == "12.5"
    assert all(bool(row["score"]) != bool(row["rejected"]) for row in read)
    assert any(row["rejected"].startswith("NonFiniteScores: ") for row in read)


def test_the_best_one_says_how_it_is_made_again() -> None:
    resource = from_api(edited(small(), {"spec.mri.weight": 0.25, "spec.seed": 7}))
    state = at(finished()).state
    assert state and state.best
    made = made_of(resource, resource.experiment().where, state, state.best)
    assert made["genome"] == state.best.candidate.genome.model_dump()
    assert "--father s3://models/father" in made["again"]
    assert "--seed 7" in made["again"] and "--set mri.weight=0.25" in made["again"]
    assert made["mriWeight"] == 0.25
    based = edited(small(), {"spec.parents.base": {"uri": "s3://models/base"}, "spec.merge": {"method": "Ties"}})
    resource = from_api(based)
    again = made_of(resource, resource.experiment().where, state, state.best)["again"]
    assert "--base s3://models/base" in again and "--set merge.method=Ties" in again


def test_the_best_ones_parents_on_a_hub_are_told_by_their_commits() -> None:
    parents = {"father": {"uri": "hf://org/a@v1"}, "mother": {"uri": "s3://models/b", "base": "hf://org/b"}}
    resource = from_api(edited(small(), {"spec.parents": parents}))
    state = at(finished()).state
    assert state and state.best
    where = at_commits(resource.experiment().where, {"father": "1" * 40, "motherBase": "2" * 40})
    made = made_of(resource, where, state, state.best)
    assert made["parents"] == {"father": f"hf://org/a@{'1' * 40}", "mother": "s3://models/b"}
    assert f"--set parents.mother.base=hf://org/b@{'2' * 40}" in made["again"]


# Two runs.


def resource(**edits: Any) -> Any:
    return from_api(edited(small(), edits))


def test_only_what_can_move_a_result_is_compared_with_both_values() -> None:
    there = {"spec.seed": 5, "spec.store.uri": "s3://runs/b", "spec.cluster.parallelism": 4}
    assert diff.asked_differently(resource(), resource(**there)) == {"spec.seed": (resource().spec.seed, 5)}


def test_a_task_is_compared_by_its_name() -> None:
    other = resource(**{"spec.evaluation.tasks": [{"name": "arc_easy", "weight": 2}, {"name": "arc_challenge"}]})
    found = diff.asked_differently(resource(), other)
    assert found["spec.evaluation.tasks[arc_easy].weight"] == (1.0, 2.0)
    assert found["spec.evaluation.tasks[arc_challenge].name"] == (None, "arc_challenge")


def test_results_stand_side_by_side_as_far_as_they_are() -> None:
    found = diff.results(finished().status, Status())
    assert found["phase"] == ("Complete", "")
    assert found["verdict"][0] and not found["verdict"][1]
    assert "child" in found and found["candidates"] == ("6/6", "")


# GitOps.


def kept(labels: Mapping[str, str], annotations: Mapping[str, str], *managers: str) -> dict[str, Any]:
    fields = [{"manager": manager} for manager in managers]
    return {"metadata": {"labels": dict(labels), "annotations": dict(annotations), "managedFields": fields}}


FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {"helm.toolkit.fluxcd.io/name": "lab", "helm.toolkit.fluxcd.io/namespace": "team"}
TRACKED = {"argocd.argoproj.io/tracking-id": "merges:darwinmerge.io/DarwinMerge:lab/small"}
ARGO = "Argo CD (Application merges)"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (kept({}, TRACKED), ARGO),
        (kept({"app.kubernetes.io/instance": "merges"}, {}, "kubectl", "argocd-controller"), ARGO),
        (kept(FLUX, {}), "Flux (Kustomization flux-system/apps)"),
        (kept(HELM, {}), "Flux (HelmRelease team/lab)"),
    ],
)
def test_who_keeps_a_run_as_git_has_it_is_found_and_named(run: dict[str, Any], words: str) -> None:
    keeper = gitops.keeper_of(run)
    assert keeper and keeper.words == words and keeper.name in keeper.instead


@pytest.mark.parametrize("managers", [(), ("kubectl-client-side-apply", "helm")])
def test_a_label_that_helm_sets_too_says_nothing(managers: tuple[str, ...]) -> None:
    assert gitops.keeper_of(kept({"app.kubernetes.io/instance": "merges"}, {}, *managers)) is None


# Logs.

KEYS = [
    f"logs/score-{'b' * 16}/my-merge-g01-c01-merge-0123abcd-1-x2x4z-00000000.jsonl",
    f"logs/score-{'b' * 16}/my-merge-g01-c01-eval-0123abcd-1-x2x4z-00000000.jsonl",
    f"logs/mri-{'a' * 16}/my-merge-mri-0123abcd-2-x2x4z-00000000.jsonl",
    f"logs/rows-{'c' * 16}/my-merge-rows-0123abcd-1-x2x4z-00000000.jsonl",
]


def test_a_log_is_asked_of_the_workers_container_since_a_pod_may_have_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(method: str, url: str, *_: Any, **__: Any) -> Any:
        asked.append(url)
        stream = SimpleNamespace(stream=lambda size: [b"first\nsec", b"ond\n"])
        return SimpleNamespace(status=200, response=stream)

    connection = client.ApiClient()
    monkeypatch.setattr(connection, "call_api", answer)
    assert list(Cluster(connection, "lab").log("lab", "p", follow=True)) == ["first", "second"]
    (url,) = asked
    assert parse_qs(urlsplit(url).query) == {"container": ["worker"], "follow": ["true"]}


def test_logs_of_a_store_come_in_the_order_of_results_and_others_last() -> None:
    found = logs.chosen(KEYS, ["a" * 64, "b" * 64], "", "")
    assert [key.split("/")[1].partition("-")[0] for key in found] == ["mri", "score", "score", "rows"]


@pytest.mark.parametrize(("stage", "count"), [("merge", 1), ("eval", 1), ("mri", 1), ("score", 0)])
def test_a_stage_is_the_jobs_own_whatever_the_run_is_called(stage: str, count: int) -> None:
    assert len(logs.chosen(KEYS, [], stage, "")) == count


def test_a_candidates_logs_are_those_of_its_task() -> None:
    assert logs.chosen(KEYS, [], "", "b" * 16) == sorted(KEYS[:2])


@pytest.mark.parametrize("text", ["3", "a/b", "1/2/3", "9/9"])
def test_a_candidate_that_is_none_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"3/2|none yet"):
        logs._task(text, resource(), None)


# The command line.


@pytest.mark.parametrize(
    ("since", "words"), [(1000.0, "0s"), (900.0, "100s"), (0.0, "16m"), (-9000.0, "2h"), (-200_000.0, "2d")]
)
def test_an_age_is_told_as_kubectl_does(since: float, words: str) -> None:
    assert age(since, 1000.0) == words


@pytest.mark.parametrize("name", NAMES)
def test_each_command_teaches_by_examples(name: str) -> None:
    context = click.Context(cli, info_name="kubectl darwin")
    command = cli.get_command(context, name)
    assert command
    text = command.get_help(click.Context(command, info_name=name, parent=context))
    assert f"kubectl darwin {name}" in text.split("Examples:")[1]
    assert "--namespace" in text and "--kubeconfig" in text
