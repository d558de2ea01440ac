"""A child on its way from the store to the output, a few MB at a time, each file checked as it passes.

Bytes go through this process, whatever lies at the ends: store and output may be a disk and S3, and one S3 that copied
by itself would not say whether the bits are those that were exported.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from darwinmerge.checkpoint.folder import INDEX
from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, StoreUnreachable
from darwinmerge.parallel import in_order
from darwinmerge.pipeline.place import Place
from darwinmerge.publish.lineage import CARD
from darwinmerge.publish.place import Run, Standing, standing
from darwinmerge.s3 import parse
from darwinmerge.store import Ref, S3Store, Store, layout
from darwinmerge.store.file import STALE_SECONDS, sync_folder

BLOCK = 8 << 20  # bytes of one read
READERS = 8  # as many as uploads that are on their way; 0.4 to 0.6 GB of memory with these, whatever the child's size

VIEWS = (f"/{CARD}", f"/{layout.CHILD_RUN}")  # of a child's files, what each publication makes anew

Files = Mapping[str, Ref]  # a child's files in the store, by their names in its folder


def to_folder(files: Files, target: Path, place: Place) -> None:
    """Copy beside the target and rename, so that the target is never half a model; of two, the last one stays.

    Whatever is renamed is on the disk by then: the result that says so is, and a power cut must not prove it wrong.

    Raises:
        BadConfiguration: nothing may be written there.
    """
    own = uuid.uuid4().hex
    made, replaced = (target.with_name(f".{target.name}.{state}-{own}") for state in ("partial", "replaced"))
    try:
        made.mkdir(parents=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise BadConfiguration(
            f"spec.output.uri: user {os.getuid()} can't make a folder in {target.parent} ({error.strerror}); give this "
            "user, or a group of its, the right to write there, or choose another place"
        ) from None
    _sweep(target)
    try:
        for done, (name, ref) in enumerate(files.items(), 1):
            with (made / name).open("wb") as file:
                file.writelines(_checked(ref, place))
                file.flush()
                os.fsync(file.fileno())
            place.step(done, len(files))
        sync_folder(made)
        while made.exists():
            with contextlib.suppress(FileNotFoundError):
                target.rename(replaced)
            shutil.rmtree(replaced, ignore_errors=True)
            try:
                made.rename(target)
            except OSError as error:  # another one's stands there since
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        sync_folder(target.parent)
    finally:
        for left in (made, replaced):
            shutil.rmtree(left, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes left beside the target, by age, since another one may be copying there."""
    for left in target.parent.iterdir():
        if left.name.startswith((f".{target.name}.partial-", f".{target.name}.replaced-")):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)


def to_s3(files: Files, run: Run, found: Standing, place: Place) -> None:
    """Copy file by file to where `found` stands: what it has of this child is kept, what it has of another one goes.

    Raises:
        StoreUnreachable: another process publishes there too; the next attempt finds out what it left.
    """
    target = S3Store(*parse(found.output))
    kept = {layout.CHILD_RUN, *_intact(files, target, place)} if found.run == run else set()
    for name in reversed(_in_turn(found.names - kept)):
        target.delete(name)
    target.make_sure(layout.CHILD_RUN, place.store.read(files[layout.CHILD_RUN].key))
    copied = set()
    for done, name in enumerate(_in_turn(files), 1):
        if name not in {layout.CHILD_RUN, *kept}:
            if target.put_shard(name, _checked(files[name], place)).sha256 != files[name].sha256:
                break  # another one stands there since
            copied.add(name)
        place.step(done, len(files))
    now = standing(found.output)
    if now.whole != run.recipe:
        for name in copied - (now.run.files if now.run else set()):
            target.delete(name)
        raise StoreUnreachable(f"spec.output.uri: another process changed {found.output} at the same time; run again")


def _in_turn(names: Iterable[str]) -> list[str]:
    """In the order in which a child's files come; they go in the opposite one."""
    turns = {layout.CHILD_RUN: 0, INDEX: 2, layout.CHILD_RECORD: 3}
    return sorted(names, key=lambda name: (turns.get(name, 1), name))


def _intact(files: Files, target: S3Store, place: Place) -> set[str]:
    """Names of the files that the target has, with the right bytes."""
    sizes = {stat.key: stat.size for stat in target.list("")}

    def sha256(name: str) -> str:
        sha = hashlib.sha256()
        for part in _parts(target, name, sizes[name], place):
            sha.update(part)
        return sha.hexdigest()

    return {name for name, ref in files.items() if sizes.get(name) == ref.size and sha256(name) == ref.sha256}


def _checked(ref: Ref, place: Place) -> Iterator[bytes]:
    """The bytes of a file of the child; after the last one an error, if they are not those that were exported.

    Raises:
        BadInput: somebody changed it.
        StoreUnreachable: it is a view, and another runner has just made it anew; the next attempt copies that one.
    """
    sha = hashlib.sha256()
    for part in _parts(place.store, ref.key, ref.size, place):
        sha.update(part)
        yield part
    if sha.hexdigest() != ref.sha256:
        raise damaged(ref, place)


def damaged(ref: Ref, place: Place) -> DarwinError:
    """What to say of a file of the child that isn't what was exported."""
    if ref.key.endswith(VIEWS):
        return StoreUnreachable(f"store {place.store.uri}: {ref.key} was written anew by another runner; run again")
    return BadInput(
        f"store {place.store.uri}: {ref.key} was changed after it was exported; "
        "delete its folder and the results export-*, health-*, and run again"
    )


def _parts(store: Store, key: str, size: int, place: Place) -> Iterator[bytes]:
    reads = (partial(store.read, key, start, start + BLOCK) for start in range(0, size, BLOCK))
    for part in in_order(reads, READERS):
        place.pause()
        yield part
