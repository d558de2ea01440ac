"""What a store holds that nothing refers to any more: a pure function, like the plan.

Deleting is safe beside whoever works on the store. Staged children are named by the recipes of scored candidates, as
in `retention`: what is being merged or scored right now has no score yet, so it is never among them. Children go only
once the run has its outcome, and neither the present winner nor the published one does. A log goes by the time at
which its first task was done: one without an end may still be written.

A child of a former winner goes with the results that refer to it, and these first: should it win again, after further
generations, it is written anew, to the bit.
"""

from collections.abc import Iterable
from typing import Literal

from darwinmerge.checkpoint.folder import INDEX
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Results, Walk
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done, ExportSummary, PublishSummary, ScoreSummary
from darwinmerge.pipeline.retention import spent
from darwinmerge.store import Stat, layout

Why = Literal["staged children that can't win", "children of former winners", "old logs", "half written, a day old"]


class Waste(Frozen):
    """An object that can go."""

    key: str
    size: int
    why: Why


def waste(
    experiment: Experiment, results: Results, stats: Iterable[Stat], old_logs: frozenset[str] = frozenset()
) -> tuple[Waste, ...]:
    """Objects that can go, in the order in which they must.

    Args:
        experiment: as it was last run, so that generations that were added since the outcome are known.
        results: read after `stats` were listed: what is newer than they are is then not among them.
        stats: all objects of the store.
        old_logs: folders of logs that may go, as `layout.log_folder` has them.
    """
    seen = walk(experiment, results)
    former = _former(seen, results)
    referring = _referring(results, former)
    staged = {layout.staged(recipe) for recipe in _spent(experiment, results)}
    children = {layout.child(recipe) for recipe in former}
    found = []
    for stat in stats:
        folder = "/".join(stat.key.split("/")[:2]) + "/"
        if stat.key in referring or folder in children:
            found.append(Waste(key=stat.key, size=stat.size, why="children of former winners"))
        elif folder in staged:
            found.append(Waste(key=stat.key, size=stat.size, why="staged children that can't win"))
        elif folder in old_logs:
            found.append(Waste(key=stat.key, size=stat.size, why="old logs"))
    return tuple(sorted(found, key=lambda item: (item.key not in referring, not item.key.endswith(INDEX), item.key)))


def _spent(experiment: Experiment, results: Results) -> tuple[str, ...]:
    """As `retention.spent`, by name even where the run has ended: it may be going on from this moment."""
    found = spent(experiment, results)
    return _recipes(results, ScoreSummary) if found == "All" else found


def _former(seen: Walk, results: Results) -> frozenset[str]:
    """Recipes whose exported children nobody needs."""
    if not (seen.outcome and seen.export):
        return frozenset()
    standing = (seen.published.recipe,) if seen.published else _recipes(results, PublishSummary)
    return frozenset(_recipes(results, ExportSummary)) - {seen.export.recipe, *standing}


def _recipes(results: Results, *kinds: type[ScoreSummary | ExportSummary | PublishSummary]) -> tuple[str, ...]:
    summaries = [result.summary for result in results.values() if isinstance(result, Done)]
    return tuple(sorted({summary.recipe for summary in summaries if isinstance(summary, kinds)}))


def _referring(results: Results, recipes: frozenset[str]) -> frozenset[str]:
    """Results that say that a child of these recipes is written, or published."""
    return frozenset(
        layout.result(result.summary.stage, task)
        for task, result in results.items()
        if isinstance(result, Done)
        and isinstance(result.summary, ExportSummary | PublishSummary)
        and result.summary.recipe in recipes
    )
