"""What is told of a task is small, however wide the run is."""

from typing import Any

from darwinmerge.experiment.searching import MAX_CANDIDATES
from darwinmerge.pipeline.results import (
    Candidate,
    Done,
    HealthSummary,
    RowCounts,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
)
from darwinmerge.search.genome import GENES
from tests.unit.plan_world import World, experiment, run
from tests.unit.planned import WIDE, candidates_of


def size(value: Any) -> int:
    return len(value.model_dump_json(by_alias=True, exclude_none=True))


LONG = "f" * 64


def test_a_candidates_summary_fits_into_400_bytes() -> None:
    candidate = Candidate(generation=1000, index=47, of=48, genome=WIDE[0])
    for score in (0.0123456789012, 0.000123456789012, 1.23456789012e-05):  # 12 significant digits
        summary = ScoreSummary(score=score, n=99_999, recipe=LONG, answers=LONG, env=LONG[:16], candidate=candidate)
        assert size(summary) <= 400


def test_the_longest_other_summaries_fit_into_3_kib() -> None:
    elites = tuple(genome.values() for genome in WIDE)
    count = RowCounts(task="t" * 96, search=99_999, fresh=99_999, verdict=99_999)
    flagged = tuple(f"vision.{100 + layer}: FunctionLoss" for layer in range(16))
    for summary in (
        SearchSummary(history=LONG, fitness=0.123456789012, restarts=100, active=GENES, elites=elites),
        RowsSummary(rows=LONG, counts=(count,) * 3),
        HealthSummary(table=LONG, status="Flagged", layers=999, flagged=flagged),
    ):
        assert size(summary) <= 3 * 1024


def test_summaries_of_a_wide_run_are_small() -> None:
    x = experiment(steps=2, candidates=MAX_CANDIDATES, finalists=16, tasks=("nouns", "countries", "sums"))
    found = run(x, World(elites=MAX_CANDIDATES, grain=0.001), order=lambda flight: flight, workers=200)
    candidates = candidates_of(found)
    assert len(candidates) == 2 * MAX_CANDIDATES
    assert all(size(summary) <= 400 for summary in candidates)
    others = [result.summary for result in found.results.values() if isinstance(result, Done)]
    assert all(size(summary) <= 3 * 1024 for summary in others)
