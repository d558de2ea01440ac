"""What stands on a branch of a model hub, where a manifest wants the child: the same questions as of any output.

The hub's commits are atomic, so that a child is whole there or isn't there at all; what `darwin-run.json` says of the
files beside it decides, as everywhere, whether they may be replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darwinmerge import hub
from darwinmerge.experiment.manifest import Hub
from darwinmerge.publish.place import Standing, standing_of

OWN = (".gitattributes",)  # what the hub itself puts into a new repository


@dataclass(frozen=True)
class Branch:
    """A branch, which may not exist yet."""

    at: Hub
    repository: bool  # whether there is one, as far as this token may see
    commit: str = ""  # its head; empty: there is no such branch
    entries: Mapping[str, hub.Entry] | None = None  # its files by name, those in folders left out

    @cached_property
    def standing(self) -> Standing:
        """Whose files these are."""
        entries = self.entries or {}
        reader = hub.Reader(
            hub.Revision(self.at.repo, self.commit), {name: entry.size for name, entry in entries.items()}
        )
        names = frozenset(name for name in entries if name not in OWN)
        return standing_of(self.at.uri, names, lambda name: reader.get(name, 0, entries[name].size))


def look(at: Hub) -> Branch:
    """Look at a branch.

    Raises:
        BadConfiguration: there is no token, or the hub doesn't take it.
        StoreUnreachable: the hub doesn't answer.
    """
    found, commit = hub.answer(at.uri, lambda api: _head(api, at), may="write")
    if not commit:
        return Branch(at, found)
    return Branch(at, found, commit, hub.listed(hub.Revision(at.repo, commit)))


def _head(api: Any, at: Hub) -> tuple[bool, str]:
    """Whether the repository is there, and its branch's head."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return True, str(api.model_info(at.repo, revision=at.revision, timeout=hub.TIMEOUT).sha)
    except RevisionNotFoundError:
        return True, ""
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return False, ""
