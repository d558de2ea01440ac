"""A pod's log is JSON lines that say what is done and how fast."""

import json
from typing import Any

from darwinmerge.pipeline.log import EVERY_SECONDS, KEPT_BYTES, Log
from darwinmerge.pipeline.tasks import Task
from tests.unit.plan_world import World, experiment, part, run


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def candidate() -> Task:
    asked = run(experiment(), World()).asked.values()
    return next(task for task in asked if part(task) == "candidate")


def test_progress_names_candidate_stage_and_rate_but_not_too_often() -> None:
    clock, lines = Clock(), list[dict[str, Any]]()
    log = Log(lambda line: lines.append(json.loads(line)), clock)
    log.task(candidate(), "evaluate")
    for second in range(11):
        clock.now = float(second)
        log.progress(second * 10, 1000)
    assert [line["seconds"] for line in lines] == [EVERY_SECONDS, 2 * EVERY_SECONDS]
    last = lines[-1]
    assert (last["stage"], last["part"], last["generation"], last["candidate"]) == ("score", "evaluate", 1, 0)
    assert (last["done"], last["total"], last["questionsPerSecond"]) == (100, 1000, 10.0)


def test_the_last_piece_is_always_told() -> None:
    lines = list[str]()
    log = Log(lines.append, Clock())
    log.task(candidate(), "all")
    log.progress(10, 10)
    assert len(lines) == 1


def test_what_is_kept_is_the_end_of_the_log_in_whole_lines() -> None:
    log = Log(lambda line: None)
    for number in range(3000):
        log.say("note", number=number, text="é" * 400)
    kept = log.bytes("")
    numbers = [json.loads(line)["number"] for line in kept.decode().splitlines()]
    assert len(kept) <= KEPT_BYTES
    assert numbers == list(range(numbers[0], 3000))
    assert numbers[0] > 0


def test_of_several_tasks_each_keeps_what_is_said_of_it_and_of_none() -> None:
    log, one = Log(lambda line: None), candidate()
    other = Task(revision=one.revision, seed=one.seed + 1, inputs=one.inputs)
    log.say("begin")
    for task in (one, other):
        log.task(task, "all")
        log.say("start")
    for task in (one, other):
        told = [json.loads(line) for line in log.bytes(task.id).decode().splitlines()]
        assert [(line["event"], line.get("task")) for line in told] == [("begin", None), ("start", task.id[:16])]
