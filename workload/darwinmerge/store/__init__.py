"""The one interface to where an experiment lives, and its layout."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.types import first_mistake
from darwinmerge.parallel import in_order
from darwinmerge.s3 import parse
from darwinmerge.store.base import READ_SIZE, Ref, Stat, Store, stored_ref
from darwinmerge.store.file import FileStore
from darwinmerge.store.s3 import S3Store
from darwinmerge.uri import file_path

__all__ = [
    "READ_SIZE",
    "FileStore",
    "Ref",
    "S3Store",
    "Stat",
    "Store",
    "damaged",
    "fetch",
    "fetch_each",
    "fetch_json",
    "fetch_known",
    "fetch_model",
    "open_store",
    "stored_ref",
]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

READERS = 16  # small objects read at a time


def open_store(uri: str) -> Store:
    """The store at `uri`: a path, `file://`, `pvc://claim/path` or `s3://bucket/prefix`.

    Raises:
        BadConfiguration: the scheme has no store, or there is no client for it.
    """
    path = file_path(uri)
    if path is not None:
        return FileStore(path)
    if uri.startswith("s3://"):
        return S3Store(*parse(uri))
    scheme = uri.partition("://")[0]
    raise BadConfiguration(f"store {uri}: '{scheme}://' can't be a store; use a path, file:// or s3://bucket/prefix")


def fetch(store: Store, key: str) -> bytes:
    """An object that a result refers to.

    Raises:
        BadInput: it is gone.
    """
    try:
        return store.read(key)
    except KeyError:
        raise BadInput(f"store {store.uri}: {key} is missing, though a result refers to it") from None


def fetch_each(store: Store, prefix: str, read: Callable[[str], T]) -> Iterator[T]:
    """What `read` makes of the key of each object under a prefix, in order of keys, several at a time.

    For many small objects, of which each costs an answer of the store, whatever its size.
    """
    return in_order((partial(read, stat.key) for stat in store.list(prefix)), READERS)


def fetch_json(store: Store, key: str) -> Any:
    """JSON of an object that a result refers to.

    Raises:
        BadInput: it is gone, or isn't JSON.
    """
    try:
        return json.loads(fetch(store, key))
    except ValueError as error:
        raise damaged(store, key, error) from None


def fetch_model(store: Store, key: str, model: type[M]) -> M:
    """A value that a result refers to.

    Raises:
        BadInput: it is gone, or isn't one.
    """
    try:
        return model.model_validate_json(fetch(store, key))
    except ValueError as error:
        raise damaged(store, key, error) from None


def fetch_known(store: Store, key: str, model: type[M], expected: str) -> M:
    """A value that a result refers to by its digest.

    Raises:
        BadInput: it is gone, isn't one, or isn't the one.
    """
    found = fetch_model(store, key, model)
    if digest(found) != expected:
        raise BadInput(f"store {store.uri}: {key} was changed")
    return found


def damaged(store: Store, key: str, error: ValueError) -> BadInput:
    """What to say of an object that can't be read."""
    return BadInput(
        f"store {store.uri}: {key} is damaged, or another version wrote it ({first_mistake(error)}); "
        "run with the version that wrote it, or delete it and run again: it will be made anew"
    )
