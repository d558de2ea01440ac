"""A DarwinMerge that nothing disturbs: applied, carried out by the operator of the chart, and told."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean, median

import pytest

from charts.alerts import ALERTS
from darwinmerge.pipeline.results import MriSummary, ScoreSummary
from darwinmerge_operator.resource import GROUP
from darwinmerge_operator.seen import seconds, tasks_of
from tests.cluster.conftest import Kubernetes, kubectl, until
from tests.cluster.operated import GPU, RUN_SECONDS, Json, Operator, Run, with_gpus
from tests.cluster.outcomes import keep, rows
from tests.cluster.test_gitops import AS_FLUX
from tests.clustered import edited
from tests.dashboarded import RULES, answers
from tests.integration.conftest import World, darwin
from tests.prometheus import Prometheus, scraping
from tests.s3 import S3

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Story:
    """What was seen of the run."""

    run: Run
    operator: Operator
    log: str
    phases: list[str]  # one after the other
    jobs: dict[str, Json]  # that were ever there, by name
    on_gpus: bool  # whether each Pod of a benchmark holds one: nodes offer enough of them
    held: dict[str, float]  # for how many seconds each Pod that asks for one has run
    prometheus: Prometheus  # which scrapes the operator, and has its alerts
    began: float  # seconds since 1970
    ended: float


@pytest.fixture(scope="module")
def story(
    kubernetes: Kubernetes,
    images: tuple[str, str],
    small_run: Callable[[str], Run],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """The run, at its end, with what would serve its child: no server, since there is neither GPU nor image."""
    plain = small_run("undisturbed")
    run = replace(plain, document=edited(plain.document, {"spec.cluster.serve": {"replicas": 0}}))
    on_gpus = offered(kubernetes) >= run.document["spec"]["cluster"]["parallelism"]
    if on_gpus:
        run = with_gpus(run)
    operator = Operator(kubernetes, run.namespace)
    operator.install(*images, "serving.enabled=true")
    phases: list[str] = []
    jobs: dict[str, Json] = {}
    held: dict[str, float] = {}

    def look() -> bool:
        ended = run.condition("Complete") or run.condition("Failed")
        phase = run.status().get("phase", "")
        if phase and phase not in phases[-1:]:
            phases.append(phase)
        jobs.update({job["metadata"]["name"]: job for job in run.jobs()})
        held.update({pod["metadata"]["name"]: ran(pod, time.time()) for pod in run.pods() if asks_for_a_gpu(pod)})
        return bool(ended)

    with scraping(operator.port, tmp_path_factory.mktemp("prometheus"), RULES) as prometheus:
        began = time.time()
        run.by_kubectl("apply")
        until(look, RUN_SECONDS, 0.3)
        ended = f'darwin_merge_phase{{namespace="{run.namespace}",phase=~"Complete|Failed"}} == 1'
        until(lambda: prometheus.query(ended))
        yield Story(run, operator, operator.log(), phases, jobs, on_gpus, held, prometheus, began, time.time())
    if not run.gone():
        run.delete()
    operator.uninstall()


def offered(kubernetes: Kubernetes) -> int:
    """GPUs that the cluster's nodes offer."""
    nodes = kubernetes.of("Node").get().to_dict()["items"]
    return sum(int(node["status"].get("allocatable", {}).get(GPU, 0)) for node in nodes)


def asks_for_a_gpu(pod: Json) -> bool:
    return any(GPU in (one["resources"].get("limits") or {}) for one in pod["spec"]["containers"])


def ran(pod: Json, now: float) -> float:
    """Seconds that a Pod's one container has run, until it ended or until now."""
    state: Json = next((one["state"] for one in pod["status"].get("containerStatuses") or ()), {})
    ended = state.get("terminated") or {}
    began = seconds((state.get("running") or ended).get("startedAt"))
    return (seconds(ended.get("finishedAt")) or now) - began if began else 0.0


def test_it_is_complete_whatever_the_verdict_and_nothing_was_in_its_way(story: Story) -> None:
    status = story.run.status()
    assert story.run.condition("Complete")["reason"] == status["verdict"]["label"]
    assert {c["type"] for c in status["conditions"]} == {"Accepted", "MRIInformative", "Complete", "Served", "Ready"}
    assert status["observedGeneration"] == story.run.found()["metadata"]["generation"] == 1
    assert story.phases[-1] == "Complete"
    assert len(story.phases) > 4


def test_the_child_and_all_else_is_that_of_one_machine_bit_for_bit(story: Story, on_one_machine: World) -> None:
    here = on_one_machine.objects()
    assert len([key for key in here if key.endswith(".safetensors")]) > 1
    assert story.run.lasting() == here


def test_the_status_says_where_the_child_is(story: Story) -> None:
    status = story.run.status()
    assert status["child"]["uri"].startswith(story.run.document["spec"]["store"]["uri"] + "/children/")
    assert status["summary"] == story.run.document["spec"]["store"]["uri"] + "/summary.json"
    assert story.run.read("summary.json")


def test_what_serves_the_child_is_there_and_the_runs(story: Story) -> None:
    status, uid = story.run.status(), story.run.found()["metadata"]["uid"]
    assert story.run.condition("Served")["reason"] == "Applied"
    assert [server["metadata"]["name"] for server in story.run.servers()] == ["tiny-serve"] * 2
    for server in story.run.servers():
        assert [owner["uid"] for owner in server["metadata"]["ownerReferences"]] == [uid]
    deployment, service = story.run.servers()
    assert deployment["spec"]["replicas"] == 0
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"][0] == status["child"]["uri"]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_its_report_is_drawn_after_the_generation_and_again_at_the_end(story: Story) -> None:
    assert story.run.status()["report"] == story.run.document["spec"]["store"]["uri"] + "/report.html"
    assert [job for job in story.jobs if "-report-" in job]
    verdict = story.run.status()["verdict"]["label"]
    assert verdict in story.run.read("report.html").decode()


def test_every_task_was_in_one_job_models_are_scored_together_and_no_job_is_left(story: Story) -> None:
    labels = [job["metadata"]["labels"] for job in story.jobs.values()]
    assert {label[f"{GROUP}/attempt"] for label in labels} == {"1"}
    work = [job for job in story.jobs.values() if job["metadata"]["labels"][f"{GROUP}/part"] != "recall"]
    tasks = [tasks_of(job["spec"]["template"]["spec"]) for job in work]
    assert len({*chain(*tasks)}) == sum(map(len, tasks))
    assert max(map(len, tasks)) > 1
    assert until(lambda: not story.run.jobs())


def test_events_tell_the_story_once(story: Story) -> None:
    reasons = [event["reason"] for event in story.run.events()]
    assert [reasons.count(one) for one in ("Accepted", "MRICompleted", "GenerationCompleted", "Completed")] == [1] * 4
    assert "NewBest" in reasons
    assert {event["count"] for event in story.run.events()} == {1}


def test_kubectl_shows_it_at_a_glance(story: Story) -> None:
    head, row = kubectl("get", "dm", "tiny", "--namespace", story.run.namespace).splitlines()
    assert head.split() == ["NAME", "PHASE", "GEN", "EVALS", "BEST", "VS-PARENTS", "ETA", "AGE"]
    assert row.split()[:4] == ["tiny", "Complete", "1/1", "2/2"]
    described = kubectl("describe", "dm", "tiny", "--namespace", story.run.namespace)
    assert "GenerationCompleted" in described


def test_the_operator_says_what_it_does_and_of_which_run(story: Story) -> None:
    created = [line for line in story.log.splitlines() if '"create Job ' in line]
    assert len(created) == len(story.jobs)
    assert all('"darwinmerge": "tiny"' in line for line in created)
    assert "Traceback" not in story.log


def test_no_secret_is_told(story: Story, parents_in_s3: S3) -> None:
    secret = parents_in_s3.keys["user"][1]
    told = [story.log, str(story.run.found()), str(story.run.events()), str(story.jobs)]
    assert not any(secret in one for one in told)


@pytest.mark.parametrize("flags", [(), AS_FLUX], ids=["client-side", "server-side"])
def test_what_is_in_git_is_what_is_in_the_cluster_although_it_has_run(story: Story, flags: tuple[str, ...]) -> None:
    story.run.by_kubectl("diff", *flags)


def test_every_query_of_dashboards_and_alerts_finds_something_in_the_course_of_it(story: Story) -> None:
    found = answers(story.prometheus, story.run.namespace, story.run.name, story.began, story.ended)
    shown = [
        [query.place, f"`{query.expression}`", str(dict(labels)), str(min(values)), str(max(values)), str(values[-1])]
        for query, series in found.items()
        for labels, values in series.items()
    ]
    keep("queries.md", rows(["who asks", "query", "labels", "least", "most", "last"], shown))
    assert [query for query, values in found.items() if not values] == []


def test_no_alert_fires_and_each_is_evaluated(story: Story) -> None:
    assert story.prometheus.rules() == dict.fromkeys(ALERTS, "ok")
    assert story.prometheus.over('ALERTS{alertstate="firing"}', story.began, story.ended) == {}


def by_label(story: Story, metric: str, label: str) -> dict[str, float]:
    """What Prometheus says now of a metric of the run, by a label."""
    found = story.prometheus.query(f'sum by ({label}) ({metric}{{namespace="{story.run.namespace}",name="tiny"}})')
    return {labels[0][1]: value for labels, value in found.items()}


def test_gpu_seconds_are_those_of_the_ledger_and_none_of_a_stage_that_asks_for_no_gpu(story: Story) -> None:
    told = by_label(story, "darwin_merge_gpu_seconds_total", "stage")
    assert {"mri", "score"} <= told.keys()
    assert {stage for stage, value in told.items() if value} == ({"score"} if story.on_gpus else set())
    assert story.run.ledger().gpu_seconds.items() <= told.items()  # Pods that ended since tell of the rest


def test_gpu_seconds_are_the_times_of_the_pods_that_held_a_gpu(story: Story) -> None:
    if not story.on_gpus:
        pytest.skip(f"the nodes don't offer {GPU} for every benchmark that runs at a time")
    assert story.held
    told = by_label(story, "darwin_merge_gpu_seconds_total", "stage")["score"]
    # a Pod's times are whole seconds, and one that is gone at once was last seen a moment before it ended
    assert told == pytest.approx(sum(story.held.values()), abs=1.5 * len(story.held))


def test_steps_raised_by_kubectl_on_a_finished_run_go_on_as_they_do_on_one_machine(
    story: Story, on_one_machine: World, tmp_path: Path
) -> None:
    known = story.run.stored()
    longer = World(tmp_path / "longer")
    shutil.copytree(on_one_machine.folder, longer.folder)
    longer.edit("evolution", "steps", value=2)
    here = darwin("run", longer.manifest)
    assert here.returncode == 0, here.stderr

    story.run.by_kubectl("apply", evolution__steps=2)
    until(lambda: not story.run.condition("Complete"))
    story.run.wait("Complete")
    assert story.run.status()["progress"]["step"] == 2
    assert story.run.lasting() == longer.objects()
    served = story.run.servers()[0]["spec"]["template"]
    assert served["spec"]["containers"][0]["args"][0] == story.run.status()["child"]["uri"]
    assert story.run.status()["child"]["recipe"].startswith(served["metadata"]["annotations"][f"{GROUP}/recipe"])
    lasting = {key for key in story.run.lasting() if not key.startswith("children/")}  # its card is written anew
    assert {key: known[key] for key in known if key in lasting}.items() <= story.run.stored().items()


def test_prometheus_has_the_figures_of_the_run(story: Story) -> None:
    status, ask = story.run.status(), story.prometheus
    of = f'{{namespace="{story.run.namespace}",name="tiny"}}'
    complete = f'darwin_merge_phase{{phase="Complete",{of[1:]} == 1'
    assert until(lambda: ask.value(f"darwin_merge_generation{of} == 2 and on (namespace, name) {complete}"))
    assert ask.value(f"darwin_merge_best_fitness{of}") == status["best"]["score"]
    assert by_label(story, "darwin_merge_parent_fitness", "parent") == status["parents"]
    assert ask.value(f"sum(darwin_merge_candidates_total{of})") == status["progress"]["candidates"] == 4
    (phase,) = ask.query(f"darwin_merge_phase{of} == 1")
    assert dict(phase) == {"namespace": story.run.namespace, "name": "tiny", "phase": "Complete"}
    verdict = status["verdict"]["vsFather"]
    versus = ask.query(f'sum by (stat) (darwin_merge_verdict{{against="father",{of[1:]})')
    assert {labels[0][1]: value for labels, value in versus.items()} == {
        stat: pytest.approx(verdict[stat]) for stat in ("difference", "low", "high", "p")
    }
    shown = by_label(story, "darwin_merge_fitness", "stat")
    assert shown == {stat: pytest.approx(value) for stat, value in fitness(story.run, generation=2).items()}
    (mri,) = (one for one in story.run.summaries() if isinstance(one, MriSummary))
    assert ask.value(f"darwin_merge_mri_ratio_spread{of}") == pytest.approx(mri.spread)
    progressed = ask.value(f"darwin_merge_last_progress_timestamp_seconds{of}")
    assert progressed == pytest.approx(story.run.ledger().progressed_at, abs=0.01)
    assert progressed and progressed > story.ended, "steps were raised since, and results came home"
    ends = ask.query(f'darwin_merge_condition{{type="Complete",{of[1:]}')
    assert [dict(labels)["reason"] for labels in ends] == [status["verdict"]["label"]]


def fitness(run: Run, generation: int) -> dict[str, float]:
    """The statistics of a generation's scores, as they lie in the store."""
    scored = [one for one in run.summaries() if isinstance(one, ScoreSummary) and one.candidate]
    scores = [one.score for one in scored if one.candidate and one.candidate.generation == generation]
    best = max(scores)
    return {"best": best, "mean": fmean(scores), "median": median(scores), "min": min(scores), "max": best}


def test_prometheus_has_the_jobs_of_the_run_by_stage_as_long_as_they_are_there(story: Story) -> None:
    of = f'{{namespace="{story.run.namespace}",name="tiny"}}'
    seen = story.prometheus.over(f"max by (stage, state) (darwin_merge_jobs{of})", story.began, story.ended)
    there = [dict(labels) for labels in seen]
    stages = {job["metadata"]["labels"][f"{GROUP}/stage"] for job in story.jobs.values()}
    assert {"mri", "score"} <= {one["stage"] for one in there} <= stages
    assert "running" in {one["state"] for one in there}
    assert until(lambda: not story.prometheus.query(f"darwin_merge_jobs{of}"))


def test_prometheus_has_the_figures_of_the_operator(story: Story) -> None:
    ask = story.prometheus
    stages = ask.query("sum by (stage) (darwin_operator_stage_duration_seconds_count)")
    named = {labels[0][1]: count for labels, count in stages.items()}
    assert {"mri", "score", "verdict"} <= named.keys()
    assert ask.value("sum(darwin_operator_reconcile_total)")
    created = ask.value('darwin_operator_api_requests_total{verb="POST",resource="jobs",code="201"}')
    assert created and created >= len(story.jobs)
    assert ask.value('darwin_operator_watch_age_seconds{resource="darwinmerges"}') is not None


def test_an_operator_that_starts_again_knows_the_figures_of_runs_that_have_ended(story: Story) -> None:
    fitness = f'darwin_merge_fitness{{stat="mean",namespace="{story.run.namespace}"}}'
    before = story.prometheus.value(fitness)
    story.operator.scale(0)
    assert until(lambda: story.prometheus.value(fitness) is None)
    story.operator.scale(1)
    assert until(lambda: story.prometheus.value(fitness) == before)


def test_what_is_deleted_is_shown_no_more_and_takes_its_server_with_it(story: Story) -> None:
    shown = f'darwin_merge_info{{namespace="{story.run.namespace}"}}'
    assert story.prometheus.value(shown) == 1
    story.run.delete()
    assert until(lambda: story.prometheus.value(shown) is None)
    assert until(lambda: not story.run.servers())
