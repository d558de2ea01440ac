"""What /metrics tells: all that metric.py names, of runs that are there, as a look has left it."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from darwinmerge.pipeline.plan import walk
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.decision import Decision
from darwinmerge_operator.figures import PHASES, Figures, figures_of, samples, told_of
from darwinmerge_operator.metric import OPERATOR, RUN, documented
from darwinmerge_operator.metrics import Metrics
from darwinmerge_operator.seen import _gpus
from darwinmerge_operator.view import ends_at
from tests.unit.decided import HOUR
from tests.unit.looks import Looks, running
from tests.unit.plan_world import World, experiment

WIDE = World(grain=1e-9)
FORBIDDEN = {"candidate", "genome", "layer", "recipe"}


def figures(looks: Looks, **changes: Any) -> Figures:
    """As the last look has left them."""
    seen = looks.seen()
    ledger = seen.ledger.model_copy(update=changes)
    told = told_of(ledger, walk(seen.experiment, ledger.results))
    resource = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
    return figures_of(resource, seen, Decision(ledger=ledger), looks.status, told)


def by_name(found: Figures, now: float = 0.0) -> dict[str, dict[tuple[str, ...], float]]:
    shown: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in samples(found, now):
        assert labels not in shown.setdefault(name, {}), f"{name} {labels} twice"
        shown[name][labels] = value
    return shown


@pytest.fixture(scope="module")
def finished() -> Looks:
    looks = Looks(experiment())
    looks.all(WIDE)
    return looks


def test_every_metric_of_a_run_is_told_in_the_course_of_it_and_no_other(finished: Looks) -> None:
    at_mri = Looks(experiment())
    at_mri.until(WIDE, "mri")
    at_mri.step()
    evolving = figures(finished).model_copy(update={"ends_at": 1.0})
    told = by_name(evolving) | by_name(figures(at_mri, gpu_seconds={"mri": 7.0}))
    assert told.keys() == RUN.keys()
    for name, found in told.items():
        assert {len(labels) for labels in found} == {len(RUN[name].labels)}


def test_no_label_grows_with_a_run() -> None:
    assert not FORBIDDEN & {label for metric in (*RUN.values(), *OPERATOR.values()) for label in metric.labels}


def test_figures_are_those_of_the_status(finished: Looks) -> None:
    told, status = by_name(figures(finished)), finished.status
    assert status.best and status.parents and status.verdict and status.progress
    assert told["darwin_merge_best_fitness"] == {(): status.best.score}
    assert told["darwin_merge_parent_fitness"] == {(who,): score for who, score in status.parents}
    assert told["darwin_merge_verdict"]["father", "p"] == status.verdict.vs_father.p
    assert told["darwin_merge_phase"] == {(phase,): float(phase == "Complete") for phase in PHASES}
    counts = told["darwin_merge_candidates_total"]
    assert counts["rejected",] == status.progress.rejected
    assert sum(counts.values()) == status.progress.candidates == told["darwin_merge_candidates_wanted"][()]


def test_fitness_is_that_of_the_last_finished_generation(finished: Looks) -> None:
    last = walk(experiment(), finished.ledger.results).generations[-1].scores or ()
    scores = [score for score in last if score is not None]
    told = by_name(figures(finished))["darwin_merge_fitness"]
    assert told["mean",] == pytest.approx(fmean(scores))
    assert told["best",] == told["max",] == max(scores)


def test_every_phase_that_a_run_goes_through_is_one_that_metrics_know(finished: Looks) -> None:
    assert {status.phase for status in finished.statuses} <= {*PHASES}


def test_jobs_are_counted_by_what_they_do_and_waiting_goes_on_without_a_look() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    looks.step()
    began = looks.now
    looks.with_jobs(waiting_since=began, stage="mri")
    waiting = figures(looks)
    assert by_name(waiting)["darwin_merge_jobs"] == {("mri", "pending"): 1}
    assert by_name(waiting, began + 40)["darwin_merge_pending_seconds"] == {(): 40}
    looks.with_jobs(pods=running(began), stage="mri")
    assert by_name(figures(looks))["darwin_merge_jobs"] == {("mri", "running"): 1}
    assert by_name(figures(looks), began + 40)["darwin_merge_pending_seconds"] == {(): 0}


def test_gpu_seconds_are_counted_once_however_often_one_looks() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    looks.step()
    began = looks.now
    (pod,) = running(began)
    looks.with_jobs(pods=(pod.model_copy(update={"gpus": 2}),), stage="mri")
    for _ in range(3):
        looks.step()
    assert looks.ledger.gpu_seconds == {"mri": pytest.approx(2 * (looks.ledger.active_until - began))}
    later = looks.ledger.active_until + HOUR
    looks.now = later
    looks.step()
    assert looks.ledger.gpu_seconds == {"mri": pytest.approx(2 * (later - began))}


def test_a_stage_that_holds_no_gpu_has_a_counter_of_zero_and_one_that_has_not_run_has_none() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    looks.with_jobs(pods=running(looks.now), stage="mri")
    looks.step()
    assert by_name(figures(looks))["darwin_merge_gpu_seconds_total"] == {("mri",): 0.0}


@pytest.mark.parametrize(
    ("limits", "gpus"),
    [
        ({"nvidia.com/gpu": "2", "cpu": "8"}, 2),
        ({"nvidia.com/mig-1g.10gb": 1}, 1),
        ({"gpu.intel.com/i915": "1"}, 1),
        ({"nvidia.com/gpu.shared": "1"}, 1),
        ({"cpu": "8"}, 0),
        ({}, 0),
    ],
)
def test_what_of_a_pod_is_a_gpu_and_has_benchmarks_run_on_it(limits: dict[str, Any], gpus: int) -> None:
    assert _gpus({"spec": {"containers": [{"resources": {"limits": limits}}]}}) == gpus
    told = Cluster.model_validate({"template": {"resources": {"limits": limits}}})
    assert told.benchmark_device == ("cuda" if gpus else "cpu")


def test_what_is_shown_goes_with_the_run() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    looks.step()
    metrics = Metrics("1.2.3")
    metrics.board.put(("team", "tiny"), figures(looks))
    assert {labels["namespace"] for labels in labels_of(metrics.registry, "darwin_merge_phase")} == {"team"}
    metrics.board.forget(("team", "tiny"))
    assert not list(labels_of(metrics.registry, "darwin_merge_phase"))


def test_every_metric_of_the_operator_is_told_and_no_other() -> None:
    metrics = Metrics("1.2.3")
    metrics.watch_queue(lambda: 3, lambda: 1.5)
    metrics.tried("/apis/batch/v1/jobs")
    metrics.stage_took("eval", 12.0)
    metrics.asked("GET", "jobs", "200")
    with metrics.look():
        pass
    with pytest.raises(ValueError, match="a defect"), metrics.look():
        raise ValueError("a defect")
    families = list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))
    of_operator = {f.name: f for f in families if f.name.startswith("darwin_operator")}
    assert of_operator.keys() == {name.removesuffix("_total") for name in OPERATOR}
    assert {f.documentation for f in families} == {m.help for m in (*OPERATOR.values(), *RUN.values())}
    values = {s.name: s.value for f in of_operator.values() for s in f.samples}
    assert values["darwin_operator_reconcile_total"] == 2
    assert values["darwin_operator_reconcile_errors_total"] == 1
    assert values["darwin_operator_queue_depth"] == 3


def test_the_watch_of_a_resource_is_as_old_as_that_of_the_namespace_that_was_heard_longest_ago() -> None:
    clock = [0.0]
    metrics = Metrics("1.2.3", lambda: clock[0])
    for namespace in ("a", "b"):
        metrics.tried(f"/apis/batch/v1/namespaces/{namespace}/jobs")
    clock[0] = 700.0
    metrics.heard("/apis/batch/v1/namespaces/a/jobs")
    metrics.tried("/apis/batch/v1/namespaces/b/jobs")  # again in vain

    def age() -> float | None:
        return metrics.registry.get_sample_value("darwin_operator_watch_age_seconds", {"resource": "jobs"})

    assert age() == 700.0
    metrics.heard("/apis/batch/v1/namespaces/b/jobs")
    assert age() == 0.0


def labels_of(registry: CollectorRegistry, name: str) -> Iterator[dict[str, str]]:
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        if family.name == name:
            yield from (sample.labels for sample in family.samples)


def test_the_page_of_metrics_is_that_of_this_version() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert documented(page) == page, "stale: run `make docs`"


def test_nothing_is_foreseen_of_a_run_that_stands_still(finished: Looks) -> None:
    assert figures(finished).ends_at is None
    assert finished.status.progress
    assert ends_at(finished.status.progress, 10.0, 0.0) is None
