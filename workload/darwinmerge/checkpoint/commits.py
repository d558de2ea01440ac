"""Which commit a branch or tag on a hub was when an experiment first looked: it reads that one for ever.

A branch moves, and one experiment has many readers (stages, pods, resumptions, days apart). So the first to open such
a parent leaves the commit in the store, on condition that nobody has yet, and everybody takes what stands there.
"""

from collections.abc import Mapping

from darwinmerge import hub
from darwinmerge.canonical import digest
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.types import Frozen
from darwinmerge.store import Store, fetch_model, layout


class Commit(Frozen):
    """What a revision was."""

    uri: str  # hf://org/name@revision
    commit: str  # its SHA-1, in hex


def settled(uri: str, store: Store) -> str:
    """A place that doesn't move: of a branch or tag on a hub, the URI with the commit; else the URI as it is.

    Raises:
        BadConfiguration, BadInput, StoreUnreachable: the hub has to be asked, and can't tell.
    """
    if not uri.startswith("hf://") or hub.parse(uri).pinned:
        return uri
    asked = hub.parse(uri)
    key = layout.commit(digest(str(asked)))
    if store.head(key) is None:
        now = Commit(uri=str(asked), commit=hub.pinned(uri).revision)
        store.create(key, now.model_dump_json().encode())
    return str(hub.Revision(asked.model, fetch_model(store, key, Commit).commit))


def at_commits(where: Bindings, commits: Mapping[str, str]) -> Bindings:
    """The same places, those on a hub at the commits that `ResolveSummary` has; what has none there stays as it is."""
    fields = {who: who.replace("Base", "_base") for who in commits}
    places = {field: (str(getattr(where, field)), commits[who]) for who, field in fields.items()}
    return where.model_copy(update={field: hub.at(uri, commit) for field, (uri, commit) in places.items() if uri})
