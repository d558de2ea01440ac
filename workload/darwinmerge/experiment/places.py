"""Where an experiment's things may lie, checked before anything is computed."""

from pathlib import PurePath
from urllib.parse import unquote

from darwinmerge import hub
from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.publish.branch import look
from darwinmerge.publish.place import require_free, standing
from darwinmerge.s3 import parse
from darwinmerge.uri import file_path

REACHED = ("file", "pvc", "s3")
READ = (*REACHED, "hf")  # places of parents


def require_places(experiment: Experiment) -> None:
    """Refuse places that this version can't reach, and an output that would overwrite what it is made from, or others'.

    Looks at the output, be it in S3 or on a hub: for whoever does the work, not for who only orders it.

    Raises:
        BadConfiguration: naming every such place, a parent that no hub can have, or a hub's token that is lacking.
        StoreUnreachable: the output is in S3 or on a hub, which doesn't answer.
    """
    where = experiment.where
    bad = []
    for field, uri in {**_sources(experiment), "spec.output.uri": where.output}.items():
        scheme, found, _ = uri.partition("://")
        reached = READ if field.startswith("spec.parents.") else REACHED
        if found and scheme not in reached:
            known = ", ".join(f"{name}://" for name in reached)
            bad.append(f"{field}: {scheme}:// can't be reached by this version; give a path or one of {known}")
        if scheme == "hf" and scheme in reached:
            hub.parse(uri)
    if bad:
        raise BadConfiguration("\n  ".join(["this machine can't run it:", *bad]))
    require_apart(experiment)
    if where.output:
        require_free(standing(where.output), experiment.name, where.store)
    if where.hub:
        require_free(look(where.hub).standing, experiment.name, digest(where.store))


def require_apart(experiment: Experiment) -> None:
    """Refuse an output that overlaps a parent, the base or the store; looks at nothing but the experiment.

    Raises:
        BadConfiguration: naming the two, or a place that S3 can't have.
    """
    sources, uri, on_hub = _sources(experiment), experiment.where.output, experiment.where.hub
    paths = {field: _path(source) for field, source in sources.items()}
    output = _path(uri) if uri else None
    for field, path in paths.items():
        if output and (output.is_relative_to(path) or path.is_relative_to(output)):
            raise BadConfiguration(
                f"spec.output.uri: {uri} overlaps {field}, {sources[field]}; choose a place of its own"
            )
        if on_hub and sources[field].startswith("hf://") and hub.parse(sources[field]).model == on_hub.repo:
            raise BadConfiguration(
                f"spec.output.hub: {on_hub.repo} is {field}'s, {sources[field]}; choose a repository of its own"
            )
    if on_hub:
        hub.parse(on_hub.uri)


def _sources(experiment: Experiment) -> dict[str, str]:
    where = experiment.where
    places = {who: where.parent(who) for who in where.models}
    return {
        **{f"spec.parents.{who}.uri": uri for who, (uri, _) in places.items()},
        **{f"spec.parents.{who}.base": base for who, (_, base) in places.items() if base},
        "spec.store.uri": where.store,
    }


def _path(uri: str) -> PurePath:
    """A place as a path that says what lies within what; all of S3 under `s3:`, apart from this machine's paths."""
    scheme, _, rest = uri.partition("://")
    if scheme == "s3":
        return PurePath("s3:", *parse(uri))
    if scheme in ("pvc", "hf"):  # a claim need not be mounted where a manifest is only checked
        return PurePath(f"{scheme}:", unquote(rest))
    return file_path(uri) or PurePath(uri)
