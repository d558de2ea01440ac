"""Where an experiment's things may lie, checked before anything is computed."""

from pathlib import Path

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.publish.place import require_free
from darwinmerge.uri import file_path


def require_places(experiment: Experiment) -> None:
    """Refuse places that this version can't reach, and an output that would overwrite what it is made from.

    Raises:
        BadConfiguration: naming every such place.
    """
    where = experiment.where
    places = {
        "spec.parents.father.uri": where.father,
        "spec.parents.mother.uri": where.mother,
        "spec.store.uri": where.store,
        "spec.output.uri": where.output,
    }
    bad = []
    for field, uri in places.items():
        scheme, found, _ = uri.partition("://")
        reached = ("file", "pvc") if field == "spec.output.uri" else ("file", "pvc", "s3")
        if found and scheme not in reached:
            known = ", ".join(f"{name}://" for name in reached)
            bad.append(f"{field}: {scheme}:// can't be reached by this version; give a path or one of {known}")
    if bad:
        raise BadConfiguration("\n  ".join(["this machine can't run it:", *bad]))
    if not where.output:
        return
    output = local_path(where.output)
    for field, uri in places.items():
        path = file_path(uri)
        if field != "spec.output.uri" and path and _overlap(output, path):
            raise BadConfiguration(f"spec.output.uri: {output} overlaps {field}, {uri}; choose a folder of its own")
    require_free(output, where.store)


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
