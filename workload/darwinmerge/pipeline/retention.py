"""Which staged children nobody needs any more: a pure function, like the plan.

Recipes are named, never a prefix, as long as anything may be in flight: what is being merged or scored right now has
no score yet, so it is never among them.
"""

from typing import Literal

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import Results, ranked
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import ScoreSummary

Spent = tuple[str, ...] | Literal["All"]


def spent(experiment: Experiment, results: Results) -> Spent:
    """Recipes whose staged children can go; `All` once the run has its outcome."""
    if experiment.spec.store.retention == "All":
        return ()
    seen = walk(experiment, results)
    if seen.outcome:
        return "All"
    finished = [generation for generation in seen.generations if generation.scores is not None]
    scored = [result for generation in finished for result in generation.results if isinstance(result, ScoreSummary)]
    needed = {summary.recipe for summary in ranked(finished)[: experiment.spec.evaluation.finalists]}
    return tuple(sorted({summary.recipe for summary in scored} - needed))
