"""A child on its way from the store to a model hub, as one commit.

Large files go first, each by itself, to the hub's storage, which keeps them by their SHA-256: after a kill or a cut
connection those that are there are not sent again. Then one commit makes the branch the child: files that it has stay,
files of an earlier child go. It names the commit that it replaces, so that of two at once only one is made. Who comes
again after it finds the child there, and sends nothing. The store's bytes pass through memory, never over a disk, and
are held against the digests of the export.

The hub is not told where things lie: `darwin-run.json` names there only parents that are on a hub themselves, and the
store by its digest.
"""

import io
import json
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from darwinmerge import hub
from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.manifest import Hub
from darwinmerge.pipeline.place import Place
from darwinmerge.publish.branch import Branch, look
from darwinmerge.publish.copy import BLOCK, Files, damaged
from darwinmerge.publish.place import Run, require_free
from darwinmerge.store import Ref, layout


def to_hub(files: Files, told: Mapping[str, Any], at: Hub, place: Place) -> str:
    """Make a branch of a hub the child, unless it is; the URI of the commit.

    Args:
        files: the child's files in the store, by their names in its folder.
        told: what its `darwin-run.json` says in the store.
        at: the branch.
        place: the world of this worker.

    Raises:
        BadConfiguration: something else stands there, or the hub doesn't take the token.
        BadInput: a file is not what was exported, or the hub refuses it.
        StoreUnreachable: the hub doesn't answer, or somebody else changed the branch; the next attempt goes on.
    """
    _quiet()
    here = json.dumps(_public(told), indent=1).encode()
    run = Run.model_validate_json(here)
    found = look(at)
    require_free(found.standing, run.experiment, run.store)
    found = _made(found)
    standing = found.standing
    require_free(standing, run.experiment, run.store)  # a branch that is new may have begun with something
    same = {name for name, ref in files.items() if name != layout.CHILD_RUN and _holds(found, name, ref, place)}
    same |= {layout.CHILD_RUN} if standing.run == run else set()
    gone = sorted(standing.names - files.keys())
    new = {name: ref for name, ref in files.items() if name not in same}
    if not new and not gone:
        return str(hub.Revision(at.repo, found.commit))
    return str(hub.Revision(at.repo, _committed(found, new, here, gone, run, place)))


def _committed(found: Branch, new: Files, here: bytes, gone: Iterable[str], run: Run, place: Place) -> str:
    """The commit that puts these files on a branch, and takes away those in `gone`."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    at, added = found.at, []
    for done, (name, ref) in enumerate(new.items(), 1):
        content = io.BytesIO(here) if name == layout.CHILD_RUN else io.BufferedReader(_Stored(ref, place), BLOCK)
        file = CommitOperationAdd(name, content)
        if name != layout.CHILD_RUN and file.upload_info.sha256.hex() != ref.sha256:
            raise damaged(ref, place)
        hub.answer(at.uri, partial(_send, file, at), may="write")
        added.append(file)
        place.step(done, len(new) + 1)
    operations = [*added, *(CommitOperationDelete(name, is_folder=False) for name in gone)]
    said = {"commit_message": f"{run.experiment}: recipe {run.recipe[:16]}", "parent_commit": found.commit}
    commit = hub.answer(
        at.uri, lambda api: api.create_commit(at.repo, operations, revision=at.revision, **said), may="write"
    )
    return str(commit.oid)


def _send(file: Any, at: Hub, api: Any) -> None:
    """Give the hub's storage a file, if it is large and not there; a small one goes with the commit."""
    file.path_or_fileobj.seek(0)  # an attempt that failed may have left it anywhere
    api.preupload_lfs_files(at.repo, [file], revision=at.revision)


def _made(found: Branch) -> Branch:
    """The branch, created if there is none: from the repository's first commit, in which there is nothing."""
    at = found.at
    if found.commit:
        return found
    if not found.repository:
        create = {"private": at.private, "exist_ok": True}
        hub.answer(at.uri, lambda api: api.create_repo(at.repo, **create), may="write")
        found = look(at)
    if not found.commit:
        first = hub.answer(at.uri, lambda api: api.list_repo_commits(at.repo)[-1].commit_id, may="write")
        start = {"branch": at.revision, "revision": first, "exist_ok": True}
        hub.answer(at.uri, lambda api: api.create_branch(at.repo, **start), may="write")
        found = look(at)
    if not found.commit:
        raise BadConfiguration(f"spec.output.hub: {at.uri} was created, and is not there; look at the hub")
    return found


def _quiet() -> None:
    """Have huggingface_hub draw no bars, and not warn that streams, which are meant, aren't what it likes best."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _holds(found: Branch, name: str, ref: Ref, place: Place) -> bool:
    """Whether the branch has a file as it is in the store."""
    entry = (found.entries or {}).get(name)
    if entry is None or entry.size != ref.size:
        return False
    if entry.sha256:
        return entry.sha256 == ref.sha256
    return hub.blob_of(place.store.read(ref.key)) == entry.blob


def _public(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub is told of the circumstances."""
    apart = ("store", "output")
    kept = {key: value for key, value in told.items() if key not in apart and not _elsewhere(key, value)}
    return kept | {"store": digest(told["store"])}


def _elsewhere(key: str, value: object) -> bool:
    return key.startswith(("father", "mother", "base")) and not str(value).startswith("hf://")


class _Stored(io.RawIOBase):
    """An object of the store as a file."""

    def __init__(self, ref: Ref, place: Place) -> None:
        self._ref, self._place, self._at = ref, place, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ref.size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._place.pause()
        stop = min(self._at + len(buffer), self._ref.size)
        part = self._place.store.read(self._ref.key, self._at, stop) if self._at < stop else b""
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
