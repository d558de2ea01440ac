"""How soon a run is looked at because of an event: at once where something ended or goes, else in a while."""

from typing import Any

import kopf

from darwinmerge_operator.main import settings
from darwinmerge_operator.news import CALM_SECONDS, GATHER_SECONDS, News


def job(*conditions: str, suspend: bool = False, **status: int) -> dict[str, Any]:
    true = [{"type": kind, "status": "True"} for kind in conditions]
    return {
        "metadata": {"uid": "job"},
        "spec": {"suspend": suspend},
        "status": {"conditions": true, **status},
    }


def pod(phase: str, *conditions: str, leaving: bool = False) -> dict[str, Any]:
    true = [{"type": kind, "status": "True"} for kind in conditions]
    metadata = {"uid": "pod", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {})}
    return {"metadata": metadata, "status": {"phase": phase, "conditions": true}}


def told(*events: tuple[str | None, dict[str, Any]]) -> list[bool]:
    """Of each event, whether it is to be seen soon."""
    news = News()
    delays = [news.delay(kind, found) for kind, found in events]
    assert set(delays) <= {GATHER_SECONDS, CALM_SECONDS}
    return [delay == GATHER_SECONDS for delay in delays]


def test_a_job_that_starts_and_runs_can_wait_and_its_end_cant() -> None:
    events = [("ADDED", job()), ("MODIFIED", job(active=1)), ("MODIFIED", job(active=1, ready=1))]
    assert told(*events, ("MODIFIED", job("Complete"))) == [False, False, False, True]


def test_a_job_that_failed_is_seen_soon() -> None:
    assert told(("ADDED", job()), ("MODIFIED", job("FailureTarget")), ("MODIFIED", job("Failed")))[-1]


def test_a_job_that_is_let_go_by_its_queue_is_seen_soon() -> None:
    assert told(("ADDED", job(suspend=True)), ("MODIFIED", job()))[-1]


def test_a_pod_that_is_taken_away_is_seen_before_it_is_gone() -> None:
    events = [("ADDED", pod("Pending")), ("MODIFIED", pod("Running")), ("MODIFIED", pod("Running", "DisruptionTarget"))]
    assert told(*events, ("MODIFIED", pod("Running", "DisruptionTarget", leaving=True))) == [False, False, True, True]


def test_a_pods_end_is_seen_soon_and_that_it_goes_then_isnt() -> None:
    events = [("MODIFIED", pod("Succeeded")), ("MODIFIED", pod("Succeeded", leaving=True))]
    assert told(*events, ("DELETED", pod("Succeeded", leaving=True))) == [True, False, False]


def test_a_job_that_vanishes_before_its_end_is_missed_soon() -> None:
    assert told(("ADDED", job()), ("DELETED", job()))[-1]


def test_what_had_ended_before_the_operator_started_is_seen_soon() -> None:
    assert told((None, job("Complete"))) == [True]


def test_kopf_compares_no_objects_and_writes_none() -> None:
    persistence = settings().persistence
    assert persistence.diffbase_storage.build(body=kopf.Body({"spec": {"a": 1}})) == {}
    assert persistence.diffbase_storage.fetch(body=kopf.Body({})) is None
    assert persistence.progress_storage.clear(essence={"spec": {}}) == {"spec": {}}
