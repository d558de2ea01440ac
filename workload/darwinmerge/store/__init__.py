"""The one interface to where an experiment lives, and its layout."""

from pathlib import Path
from urllib.parse import unquote

from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.store.base import READ_SIZE, Ref, Stat, Store, stored_ref
from darwinmerge.store.file import FileStore

__all__ = ["READ_SIZE", "FileStore", "Ref", "Stat", "Store", "fetch", "open_store", "stored_ref"]


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
