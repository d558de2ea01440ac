"""Several candidates to a Job: no other result, no attempt counted against a candidate that didn't fail."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.orders import Failure, Message, encode
from darwinmerge.pipeline.results import Done
from darwinmerge.pipeline.tasks import ScoreInputs, candidate_of
from darwinmerge_operator.decision import Decision, Policy
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.job import Start
from darwinmerge_operator.ledger import key_of
from darwinmerge_operator.seen import SeenPod
from tests.unit.decided import Run, failed, job_of
from tests.unit.plan_world import ANY_WORLDS, SEEDS, World, experiment, run


def scores(found: Decision) -> list[Start]:
    """Jobs that score candidates."""
    return [start for start in found.start if any(candidate_of(one.task.inputs) for one in start.orders.orders)]


def inputs_of(start: Start) -> list[ScoreInputs]:
    return [one.task.inputs for one in start.orders.orders if isinstance(one.task.inputs, ScoreInputs)]


def begun(**policy: int) -> tuple[Run, World, list[Start]]:
    """A run whose second generation, of six, is being scored: nothing else is to be done."""
    jobs, world = Run(experiment(steps=2, candidates=6), Policy(**{"candidates": 4, **policy})), World()
    found = jobs.step()
    while not any(inputs_of(start)[0].generation == 2 for start in scores(found)):
        jobs.finish(world, found.start)
        found = jobs.step()
    return jobs, world, scores(found)


def ids(*starts: Start) -> list[str]:
    return [one.id for start in starts for one in start.orders.orders]


def said(jobs: Run, start: Start, world: World, done: int, failure: ExitCode | None) -> None:
    """A Job fails at its order number `done`, from 0, and says so; without a `failure` its Pod is killed wordless."""
    orders = start.orders.orders
    ending = failed(failure or ExitCode.OUT_OF_MEMORY)
    if failure:
        told = encode(
            [world.answer(one.task) for one in orders[:done]], Failure(task=orders[done].id, exit=failure, message="")
        )
        ending = ending.model_copy(update={"message": Message.model_validate_json(told)})
    jobs.end(job_of(start, 0), ending, failed=True)


@pytest.mark.parametrize(
    ("parallelism", "most", "counts"), [(1, 4, [4]), (2, 4, [3, 3]), (4, 4, [2, 2, 2]), (6, 4, [1] * 6), (1, 1, [1])]
)
def test_candidates_share_jobs_as_long_as_every_gpu_has_one(parallelism: int, most: int, counts: list[int]) -> None:
    _, _, starts = begun(parallelism=parallelism, candidates=most)
    assert [len(start.orders.orders) for start in starts] == counts
    assert len(set(ids(*starts))) == sum(counts)


def test_what_is_being_scored_is_in_no_second_job_when_parallelism_grows() -> None:
    jobs, _, (first,) = begun(parallelism=1)
    more = scores(jobs.step(parallelism=3))
    assert sorted(ids(first, *more)) == sorted({*ids(first, *more)})
    assert len(ids(first, *more)) == 6


def test_a_job_goes_on_when_its_first_candidates_are_known() -> None:
    jobs, world, (first,) = begun(parallelism=1)
    known = world.answer(first.orders.orders[0].task)
    jobs.ledger = jobs.ledger.model_copy(update={"results": {**jobs.ledger.results, ids(first)[0]: known}})
    found = jobs.step()
    assert job_of(first, 0).name not in found.remove
    assert not scores(found)


def test_only_the_candidate_at_which_a_job_failed_has_had_an_attempt_and_is_tried_by_itself() -> None:
    jobs, world, (first,) = begun(parallelism=1)
    said(jobs, first, world, 2, ExitCode.EVALUATOR_FAILED)
    (others,) = scores(jobs.step())
    jobs.now += 3600
    blamed = ids(first)[2]
    assert {key: [t.number for t in tries] for key, tries in jobs.ledger.tries.items()} == {key_of(blamed, "all"): [1]}
    assert set(ids(first)[:2]) <= set(jobs.ledger.results)
    (alone,) = scores(jobs.step(parallelism=2))
    assert (ids(alone), alone.attempt) == ([blamed], 2)
    assert (len(ids(others)), ids(others)[0]) == (3, ids(first)[3])
    assert [one.last_try for start in (alone, others) for one in start.orders.orders] == [True, *[False] * 3]


def test_of_a_job_that_was_killed_the_first_without_a_result_is_blamed_once_and_for_all() -> None:
    jobs, world, (first,) = begun(parallelism=1)
    said(jobs, first, world, 0, None)
    jobs.finish(world, scores(jobs.step()))
    jobs.now += 3600
    (alone,) = scores(jobs.step())
    assert ids(alone) == ids(first)[:1]
    jobs.finish(world, [alone])
    for _ in range(3):  # the Job that failed is still there, and its first candidate has a result now
        jobs.step()
    assert {key: len(tries) for key, tries in jobs.ledger.tries.items()} == {key_of(ids(first)[0], "all"): 1}


def test_pods_that_are_taken_away_count_for_the_candidate_that_they_were_at_once_each() -> None:
    jobs, world, (first,) = begun(parallelism=1)
    told = Message.model_validate_json(encode([world.answer(first.orders.orders[0].task)]))
    stopped = Ending(reason="ExitCode", exit=ExitCode.INTERRUPTED, text="", message=told)
    pods: tuple[SeenPod, ...] = ()
    for uid, ending in (("1", None), ("2", stopped), ("3", None)):
        pods = (*pods, SeenPod(name="p", uid=uid, ending=ending, leaving=not ending))
        here = job_of(first, 0).name
        jobs.jobs = tuple(job.model_copy(update={"pods": pods}) if job.name == here else job for job in jobs.jobs)
        for _ in range(2):
            jobs.step()
    assert Counter(uid for pods in jobs.ledger.disrupted.values() for uid in pods) == {"1": 1, "2": 1, "3": 1}
    assert set(jobs.ledger.disrupted) == {key_of(one, "all") for one in ids(first)[:2]}


def test_a_pod_is_not_taken_to_be_where_the_one_before_it_stopped_if_that_is_known_meanwhile() -> None:
    jobs, world, (first,) = begun(parallelism=1)
    one, other, *_ = first.orders.orders
    told = Message.model_validate_json(encode([], Failure(task=one.id, exit=ExitCode.INTERRUPTED, message="")))
    stopped = Ending(reason="ExitCode", exit=ExitCode.INTERRUPTED, text="", message=told)
    pods = (SeenPod(name="p", uid="1", ending=stopped), SeenPod(name="p", uid="2", leaving=True))
    for count, known in ((1, {}), (2, {one.id: world.answer(one.task)})):
        here = {"pods": pods[:count]}
        jobs.jobs = tuple(job.model_copy(update=here) if job.key == job_of(first, 0).key else job for job in jobs.jobs)
        jobs.ledger = jobs.ledger.model_copy(update={"results": {**jobs.ledger.results, **known}})
        jobs.step()
    assert jobs.ledger.disrupted == {key_of(one.id, "all"): ("1",), key_of(other.id, "all"): ("2",)}


def test_after_a_suspension_they_share_a_job_again_whose_number_is_higher() -> None:
    jobs, _, (first,) = begun(parallelism=1)
    jobs.step(suspend=True)
    (again,) = scores(jobs.step())
    assert (ids(again), again.attempt) == (ids(first), 2)


def test_orders_that_are_long_are_given_to_several_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, (first,) = begun(parallelism=1)
    size = len(first.orders.orders[0].model_dump_json(by_alias=True).encode())
    monkeypatch.setattr("darwinmerge_operator.decide.ORDERED_BYTES", 3 * size)
    _, _, (fewer,) = begun(parallelism=1)
    assert 1 < len(fewer.orders.orders) < len(first.orders.orders)


@settings(max_examples=40, deadline=None)
@given(ANY_WORLDS, SEEDS, st.integers(1, 8), st.integers(1, 4))
def test_whatever_ends_jobs_they_lead_where_the_local_runner_leads(
    world: World, seed: int, most: int, parallelism: int
) -> None:
    x, chance = experiment(steps=2, candidates=5, seed=seed % 4), random.Random(seed)
    jobs, local = Run(x, Policy(parallelism=parallelism, candidates=most)), run(x, world)
    for number in range(2000):
        found = jobs.step()
        if found.outcome and not found.start:
            break
        if any(halt.final for halt in found.halts):
            jobs.retry = str(number)
        for start in found.start:
            if start.orders.orders and start.verb == "work" and chance.random() < 0.3:
                code = chance.choice([None, ExitCode.OUT_OF_MEMORY, ExitCode.INTERRUPTED, ExitCode.INTERNAL])
                said(jobs, start, world, chance.randrange(len(start.orders.orders)), code)
            else:
                jobs.finish(world, [start])
        jobs.now += found.again_in or 0
    else:
        raise AssertionError("no end")
    for key, result in local.kept.items():
        if not (isinstance(result, Done) and result.summary.stage == "report"):  # a report may be given up
            assert jobs.ledger.results.get(key) == result
    numbers = [(key, t.number) for key, tries in jobs.ledger.tries.items() for t in tries]
    assert len({*numbers}) == len(numbers)
