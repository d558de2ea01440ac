"""The one interface to where an experiment lives, and its layout."""

import json
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel

from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.store.base import READ_SIZE, Ref, Stat, Store, stored_ref
from darwinmerge.store.file import FileStore

__all__ = [
    "READ_SIZE",
    "FileStore",
    "Ref",
    "Stat",
    "Store",
    "damaged",
    "fetch",
    "fetch_json",
    "fetch_model",
    "open_store",
    "stored_ref",
]

M = TypeVar("M", bound=BaseModel)


def open_store(uri: str) -> Store:
    """The store at `uri`.

    Raises:
        BadConfiguration: the scheme has no store.
    """
    scheme, found, rest = uri.partition("://")
    if not found:
        return FileStore(Path(uri))
    if scheme == "file":
        return FileStore(Path("/" + unquote(rest).lstrip("/")))
    raise BadConfiguration(f"store {uri}: '{scheme}://' can't be a store in this version; use a path or file://")


def fetch(store: Store, key: str) -> bytes:
    """An object that a result refers to.

    Raises:
        BadInput: it is gone.
    """
    try:
        return store.read(key)
    except KeyError:
        raise BadInput(f"store {store.uri}: {key} is missing, though a result refers to it") from None


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


def damaged(store: Store, key: str, error: Exception) -> BadInput:
    """What to say of an object that can't be read."""
    why = str(error).splitlines()[0]
    return BadInput(
        f"store {store.uri}: {key} is damaged, or another version wrote it ({why}); "
        "run with the version that wrote it, or delete it and run again: it will be made anew"
    )
