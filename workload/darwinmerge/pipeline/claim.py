"""A store belongs to one experiment, and a run begins with what it holds."""

import json
from typing import Any

from darwinmerge.checkpoint.folder import open_model
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import Experiment, differences, science_of
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Pins
from darwinmerge.pipeline.tasks import RESULT, Done, PublishSummary, ResolveSummary, Result, TaskId
from darwinmerge.publish.place import published
from darwinmerge.store import Store, layout


class Claim(Frozen):
    """`experiment.json`: what a store belongs to."""

    name: str
    science: dict[str, Any]  # all settings that must stay the same
    parents: tuple[str, str]  # where father and mother were; they may move, but not change


def claim(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """Make the store this experiment's, or check that it is; the results that it holds.

    Raises:
        BadConfiguration: the store belongs to another experiment, to this one with other settings, or to other
            parents.
        BadInput: a result is damaged.
    """
    science = json.loads(json.dumps(science_of(experiment.spec)))
    mine = Claim(name=experiment.name, science=science, parents=(experiment.where.father, experiment.where.mother))
    if store.create(layout.EXPERIMENT, mine.model_dump_json(indent=1).encode()):
        return {}
    theirs = Claim.model_validate_json(store.read(layout.EXPERIMENT))
    if theirs.name != mine.name:
        raise BadConfiguration(
            f"store {store.uri} belongs to the experiment '{theirs.name}', not to '{mine.name}'; "
            "choose another spec.store.uri"
        )
    changed = differences(theirs.science, mine.science)
    if changed:
        remedy = "put them back, or choose another spec.store.uri (only evolution.steps and places may change)"
        raise BadConfiguration(
            "\n  ".join([f"store {store.uri} holds '{mine.name}' with other settings; {remedy}:", *changed])
        )
    results = recorded(experiment, store)
    if theirs.parents != mine.parents:
        _require_same_parents(experiment, store, results)
    return results


def recorded(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """All results of the store; a publication that another one or a person has undone counts as not done."""
    results: dict[TaskId, Result] = {}
    for stat in store.list(layout.RESULTS):
        try:
            result = RESULT.validate_json(store.read(stat.key))
        except ValueError as error:
            raise BadInput(f"store {store.uri}: {stat.key} is damaged ({error}); delete it and run again") from None
        if _gone(result, experiment.where.output):
            store.delete(stat.key)
        else:
            results[result.task] = result
    return results


def _gone(result: Result, output: str) -> bool:
    """Whether a result says that a child was published which no longer stands there."""
    if not output or not isinstance(result, Done) or not isinstance(result.summary, PublishSummary):
        return False
    return published(output) != result.summary.recipe


def _require_same_parents(experiment: Experiment, store: Store, results: dict[TaskId, Result]) -> None:
    """The manifest names other places than before: fine if the same models lie there."""
    for result in results.values():
        if isinstance(result, Done) and isinstance(result.summary, ResolveSummary):
            found = Pins(father=open_model(experiment.where.father).pin, mother=open_model(experiment.where.mother).pin)
            if found != result.summary.pins:
                raise BadConfiguration(
                    f"store {store.uri} holds '{experiment.name}' with other parents than the manifest names; "
                    "choose another spec.store.uri"
                )
