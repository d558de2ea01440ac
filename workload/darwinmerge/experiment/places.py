"""Where an experiment's things may lie, checked before anything is computed."""

from pathlib import PurePath

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.publish.place import require_free, standing
from darwinmerge.s3 import parse
from darwinmerge.uri import file_path

REACHED = ("file", "pvc", "s3")


def require_places(experiment: Experiment) -> None:
    """Refuse places that this version can't reach, and an output that would overwrite what it is made from, or others'.

    Looks at the output, be it in S3: for whoever does the work, not for who only orders it.

    Raises:
        BadConfiguration: naming every such place.
        StoreUnreachable: the output is in S3, which doesn't answer.
    """
    where = experiment.where
    sources = {
        "spec.parents.father.uri": where.father,
        "spec.parents.mother.uri": where.mother,
        "spec.store.uri": where.store,
    }
    bad = []
    for field, uri in {**sources, "spec.output.uri": where.output}.items():
        scheme, found, _ = uri.partition("://")
        if found and scheme not in REACHED:
            known = ", ".join(f"{name}://" for name in REACHED)
            bad.append(f"{field}: {scheme}:// can't be reached by this version; give a path or one of {known}")
    if bad:
        raise BadConfiguration("\n  ".join(["this machine can't run it:", *bad]))
    if not where.output:
        return
    output = _path(where.output)
    for field, uri in sources.items():
        path = _path(uri)
        if output.is_relative_to(path) or path.is_relative_to(output):
            raise BadConfiguration(
                f"spec.output.uri: {where.output} overlaps {field}, {uri}; choose a place of its own"
            )
    require_free(standing(where.output), experiment.name, where.store)


def _path(uri: str) -> PurePath:
    """A place as a path that says what lies within what; all of S3 under `s3:`, apart from this machine's paths."""
    return file_path(uri) or PurePath("s3:", *parse(uri))
