"""The operator's decision as a table: what the cluster shows goes in, what is to be done comes out."""

from hypothesis import given, settings

from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.results import Done
from darwinmerge.pipeline.tasks import ScoreInputs
from darwinmerge_operator.decision import Policy
from darwinmerge_operator.ledger import Ledger
from tests.unit.decided import Run, failed, job_of
from tests.unit.plan_world import ANY_WORLDS, SEEDS, World, experiment, run, with_steps


@settings(max_examples=25, deadline=None)
@given(ANY_WORLDS, SEEDS)
def test_jobs_lead_where_the_local_runner_leads(world: World, seed: int) -> None:
    x = experiment(steps=2, candidates=3, seed=seed % 4)
    jobs = Run(x)
    jobs.all(world)
    local = run(x, world)
    assert {k: v for k, v in jobs.ledger.results.items() if k in local.kept} == local.kept


def test_what_the_store_has_is_recalled_and_nothing_is_computed_again() -> None:
    x, world = experiment(steps=2), World()
    local = run(x, world)
    started = Run(x, store=local.kept).all(world)
    assert {start.verb for start in started if start.part != "finish"} == {"recall"}


def test_the_first_job_of_all_claims_the_store() -> None:
    first = Run(experiment()).decide().start
    assert [(start.verb, start.orders.claim is not None) for start in first] == [("recall", True)]


def test_the_last_job_leaves_the_summary_and_drops_what_is_staged() -> None:
    last = Run(experiment(steps=1)).all(World())[-1]
    assert (last.part, last.orders.drop, last.orders.finish is not None) == ("finish", "All", True)


def test_no_more_jobs_at_once_than_parallelism() -> None:
    jobs, world = Run(experiment(candidates=4), Policy(parallelism=2)), World()
    reports: set[str] = set()  # they are small, and no candidate waits for them
    while True:
        found = jobs.step()
        reports |= {start.task for start in found.start if start.stage == "report"}
        assert len([job for job in jobs.jobs if not job.finished and job.task not in reports]) <= 2
        if found.outcome:
            return
        jobs.finish(world, found.start)


def test_a_report_takes_no_place_from_candidates_and_brings_the_experiment_as_it_is_now() -> None:
    jobs, world = Run(experiment(steps=2, candidates=2), Policy(parallelism=2)), World()
    found = jobs.step()
    while not any(start.stage == "report" for start in found.start):
        jobs.finish(world, found.start)
        found = jobs.step()
    assert [start.stage for start in found.start] == ["report", "score", "score"]
    assert found.start[0].orders.claim == jobs.x


def test_deciding_twice_starts_nothing_twice() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    assert jobs.decide().start == ()


def test_staged_scores_are_merged_in_one_job_and_scored_in_the_next_but_parents_are_not_merged() -> None:
    started = Run(experiment(steps=1), Policy(parallelism=2, execution="Staged")).all(World())
    merges = [start.orders.orders[0].id for start in started if start.part == "merge"]
    scored = [start.orders.orders[0].id for start in started if start.part == "evaluate"]
    assert merges and sorted(merges) == sorted(scored)
    parents = [start for start in started if start.stage == "score" and start.part == "all"]
    assert len(parents) == 4  # father and mother, on search rows and for the verdict


def test_a_job_is_deleted_only_when_its_result_is_in_the_ledger() -> None:
    jobs, world = Run(experiment()), World()
    start = jobs.until(world, "mri").start[0]
    jobs.finish(world, [start])
    found = jobs.decide()
    assert job_of(start, 0).name in found.remove
    assert start.orders.orders[0].id in found.ledger.results


def test_jobs_go_on_while_the_store_is_asked_after_the_ledger_was_lost() -> None:
    jobs = Run(experiment(), Policy(parallelism=1))
    start = jobs.until(World(), "mri").start[0]
    jobs.ledger = Ledger()
    found = jobs.step()
    assert found.remove == ()
    assert [one.verb for one in found.start] == ["recall"]
    assert job_of(start, 0).name in {job.name for job in jobs.jobs}


def test_a_finished_run_whose_steps_grow_goes_on_and_is_finished_again() -> None:
    jobs, world = Run(experiment(steps=1)), World()
    jobs.all(world)
    jobs.x = experiment(steps=2)
    started = jobs.all(world)
    inputs = [start.orders.orders[0].task.inputs for start in started if start.stage == "score"]
    assert 2 in {one.generation for one in inputs if isinstance(one, ScoreInputs)}
    assert started[-1].part == "finish"


def test_jobs_of_a_finished_run_go_after_their_time_and_the_rest_stays() -> None:
    jobs, world = Run(experiment(steps=1), Policy(parallelism=3, ttl=60.0)), World()
    start = jobs.until(world, "mri").start[0]
    jobs.end(job_of(start, 0), failed(ExitCode.INTERNAL), failed=True)
    jobs.now += jobs.step().again_in or 0
    jobs.all(world)
    kept = [job.name for job in jobs.jobs if job.failed]
    assert kept == [job_of(start, 0).name]
    jobs.now += 61
    assert jobs.step().remove == tuple(kept)


def test_a_finished_run_whose_steps_are_raised_goes_on_and_asks_for_its_children_anew() -> None:
    """Somebody may have tidied up the store since."""
    jobs = Run(experiment(steps=1))
    jobs.all(World())
    jobs.x, jobs.generation = with_steps(jobs.x, 2), 2
    found = jobs.step()
    stages = {r.summary.stage for r in found.ledger.results.values() if isinstance(r, Done)}
    assert "verdict" in stages
    assert stages.isdisjoint({"export", "health", "publish"})
    assert {(start.verb, start.stage) for start in found.start} == {("work", "score")}
