"""What the operator remembers of a run fits into a ConfigMap, however large the run is that a cluster takes."""

import base64
import random

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.results import Candidate, Done, ReportSummary, Result, ScoreSummary, TaskId
from darwinmerge.search.genome import Genome
from darwinmerge.store import layout
from darwinmerge.store.base import Ref
from darwinmerge_operator.ledger import KEY, Ledger, Try, key_of, to_data
from darwinmerge_operator.resource import MAX_CHILDREN

CONFIG_MAP_BYTES = 1 << 20  # that an API server takes


def staged(steps: int, candidates: int) -> Ledger:
    """A run of children that were merged by one Pod and scored by another, each of which was interrupted once."""
    world = random.Random(1)

    def digest() -> str:
        return f"{world.getrandbits(256):064x}"

    results: dict[TaskId, Result] = {}
    merged, dropped, tries = [], [], {}
    for generation in range(1, steps + 1):
        for index in range(candidates):
            task, recipe, answers = digest(), digest(), digest()
            genome = Genome.of([round(world.uniform(0.001, 1), 6) for _ in range(6)])
            candidate = Candidate(generation=generation, index=index, of=candidates, genome=genome)
            score = world.randrange(998) / 997
            summary = ScoreSummary(
                score=score, n=997, recipe=recipe, answers=answers, env=digest()[:16], candidate=candidate
            )
            ref = Ref(key=layout.answers(answers), sha256=digest(), size=world.randrange(1 << 20))
            results[task] = Done(task=task, summary=summary, artefacts=(ref,))
            merged.append(task)
            dropped.append(recipe[: layout.SHORT])
            at = 1.8e9 + world.random() * 1e6
            lost = Try(number=1, exit=ExitCode.INTERRUPTED, message="its node doesn't answer", at=at)
            tries[key_of(task, "evaluate")] = (lost,)
        drawn = digest()
        results[drawn] = Done(task=drawn, summary=ReportSummary())
    return Ledger(results=results, merged=tuple(merged), dropped=tuple(dropped), tries=tries, recalling=False)


@pytest.mark.parametrize("candidates", [48, 3])
def test_the_largest_run_that_a_cluster_takes_is_remembered_in_one_config_map(candidates: int) -> None:
    data = to_data(staged(MAX_CHILDREN // candidates, candidates))
    assert len(base64.b64decode(data[KEY])) < CONFIG_MAP_BYTES
