"""A store belongs to one experiment, and a run begins with what it holds."""

from collections.abc import Mapping
from typing import Any

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import MAY_CHANGE, SIDES, Experiment, differences, science_of
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Pins
from darwinmerge.pipeline.place import opened
from darwinmerge.pipeline.results import RESULT, Done, PublishSummary, ResolveSummary, Result, TaskId
from darwinmerge.publish.place import standing
from darwinmerge.store import Store, damaged, fetch_each, fetch_model, layout
from darwinmerge.uri import file_path


class Claim(Frozen):
    """`experiment.json`: what a store belongs to."""

    name: str
    science: dict[str, Any]  # all settings that must stay the same
    parents: tuple[str, str]  # where father and mother were (`adapter on base`); they may move, but not change
    base: str = ""  # where the base was, likewise; empty: there is none


def begin(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """Claim the store for a run that begins or goes on: the results that it goes on from.

    A publication that another one or a person has undone is forgotten, so that it is done again.

    Raises:
        DarwinError: as `claim` does, and `lasting`.
    """
    found = claim(experiment, store)
    kept = lasting(experiment, found)
    for task in found.keys() - kept.keys():
        store.delete(layout.result("publish", task))
    return kept


def claim(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """Make the store this experiment's, or check that it is; the results that it holds.

    Raises:
        BadConfiguration: the store belongs to another experiment, to this one with other settings, or to other
            parents; or it is a folder with something else in it.
        BadInput: a result is damaged.
    """
    mine = Claim(
        name=experiment.name,
        science=science_of(experiment.spec),
        parents=_parents(experiment),
        base=experiment.where.base,
    )
    if store.head(layout.EXPERIMENT) is None:
        first = next(store.list(""), None)
        if first and store.head(layout.EXPERIMENT) is None:  # else another runner has claimed it just now
            raise BadConfiguration(
                f"store {store.uri} holds something else than an experiment ({first.key}); choose another"
            )
        store.create(layout.EXPERIMENT, mine.model_dump_json(indent=1).encode())
    found = held(experiment, store)
    _note(experiment, store)
    return found


def _parents(experiment: Experiment) -> tuple[str, str]:
    father, mother = (" on ".join(filter(None, experiment.where.parent(who))) for who in SIDES)
    return father, mother


def _note(experiment: Experiment, store: Store) -> None:
    """Leave the experiment as it is run now, so that its store alone is enough to look at it and to go on."""
    spec = experiment.spec.model_copy(update={"cluster": {}})  # Kubernetes' part is no business of a store's readers
    text = experiment.model_copy(update={"spec": spec}).model_dump_json(by_alias=True, indent=1).encode()
    if store.head(layout.RUN) is None or store.read(layout.RUN) != text:
        store.replace(layout.RUN, text)


def noted(store: Store) -> Experiment:
    """The experiment of a store, as it was last run; of a store that was moved or copied since, this one's.

    Raises:
        BadConfiguration: no experiment is there, or none that this version has run.
    """
    if store.head(layout.EXPERIMENT) is None:
        raise BadConfiguration(f"store {store.uri} holds no experiment; name a manifest, or the store of a run")
    if store.head(layout.RUN) is None:
        raise BadConfiguration(f"store {store.uri} has no {layout.RUN}, which says how it was run; name its manifest")
    experiment = fetch_model(store, layout.RUN, Experiment)
    here = str(file_path(store.uri) or store.uri)
    if experiment.where.store in (here, store.uri):
        return experiment
    return experiment.model_copy(update={"where": experiment.where.model_copy(update={"store": here})})


def held(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """What a store holds for this experiment, nothing changed in it; see `claim`."""
    if store.head(layout.EXPERIMENT) is None:
        return {}
    theirs = fetch_model(store, layout.EXPERIMENT, Claim)
    if theirs.name != experiment.name:
        raise BadConfiguration(
            f"store {store.uri} belongs to the experiment '{theirs.name}', not to '{experiment.name}'; "
            "choose another spec.store.uri"
        )
    changed = differences(theirs.science, science_of(experiment.spec))
    if changed:
        remedy = f"put them back, or choose another spec.store.uri (only {', '.join(MAY_CHANGE)} may change)"
        raise BadConfiguration(
            "\n  ".join([f"store {store.uri} holds '{experiment.name}' with other settings; {remedy}:", *changed])
        )
    _require_as_many_steps(experiment, store)
    results = recorded(store)
    if bool(theirs.base) != bool(experiment.where.base):
        there, here = ("a base" if place else "no base" for place in (theirs.base, experiment.where.base))
        raise BadConfiguration(
            f"store {store.uri} holds '{experiment.name}' with {there}, and the manifest names {here} "
            "(spec.parents.base); put it back, or choose another spec.store.uri"
        )
    if (theirs.parents, theirs.base) != (_parents(experiment), experiment.where.base):
        _require_same_parents(experiment, store, results)
    return results


def recorded(store: Store) -> dict[TaskId, Result]:
    """All results of a store, as they stand; nothing but the store is looked at.

    Raises:
        BadInput: one of them is damaged.
    """

    def read(key: str) -> Result | None:
        try:
            return fetch_result(store, key)
        except KeyError:  # another runner has found it undone just now
            return None

    return {result.task: result for result in fetch_each(store, layout.RESULTS, read) if result}


def lasting(experiment: Experiment, results: Mapping[TaskId, Result]) -> dict[TaskId, Result]:
    """The results without those that say that a child was published which no longer stands at the output.

    Raises:
        DarwinError: a child was published, and the output can't be looked at from here; see `standing`.
    """
    published = {
        task: result.summary.recipe
        for task, result in results.items()
        if isinstance(result, Done) and isinstance(result.summary, PublishSummary) and not result.summary.withheld
    }
    if not published or not experiment.where.output:
        return dict(results)
    whole = standing(experiment.where.output).whole
    return {task: result for task, result in results.items() if published.get(task, whole) == whole}


def fetch_result(store: Store, key: str) -> Result:
    """A stored result.

    Raises:
        KeyError: it isn't there.
        BadInput: it is damaged.
    """
    try:
        return RESULT.validate_json(store.read(key))
    except ValueError as error:
        raise damaged(store, key, error) from None


def _require_as_many_steps(experiment: Experiment, store: Store) -> None:
    """Generations only become more: with fewer, an older child would take the place of the one that was judged last."""
    if store.head(layout.RUN) is None:
        return
    had, asked = noted(store).spec.evolution.steps, experiment.spec.evolution.steps
    if asked < had:
        raise BadConfiguration(
            f"store {store.uri} has been run with {had} generations, and this asks for {asked}: they can only become "
            f"more; set spec.evolution.steps: {had}"
        )


def _require_same_parents(experiment: Experiment, store: Store, results: dict[TaskId, Result]) -> None:
    """The manifest names other places than before: fine if the same models lie there."""
    for result in results.values():
        if isinstance(result, Done) and isinstance(result.summary, ResolveSummary):
            where = experiment.where
            found = Pins(**{who: opened(where.parent(who), store).pin for who in where.models})
            if found != result.summary.pins:
                base = ", or another base" if found.base or result.summary.pins.base else ""
                raise BadConfiguration(
                    f"store {store.uri} holds '{experiment.name}' with other parents than the manifest names{base}; "
                    "choose another spec.store.uri"
                )
