"""From a URI to a model folder: on this machine, in S3, on a hub; whole, or an adapter on a whole one."""

import re
from collections.abc import Callable
from pathlib import Path

from darwinmerge import hub
from darwinmerge.checkpoint.adapter import CONFIG, AdaptedFolder, is_adapter, read_config
from darwinmerge.checkpoint.digests import Digests
from darwinmerge.checkpoint.files import Files, LocalFiles
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.hub import HubFiles
from darwinmerge.checkpoint.s3 import S3Files
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.uri import MODEL, file_path


def open_model(
    uri: str, digests: Digests | None = None, base: str = "", settle: Callable[[str], str] = str
) -> ModelFolder:
    """The model folder at `uri`.

    Args:
        uri: where it lies.
        digests: as `ModelFolder` takes it.
        base: where the model lies that an adapter is on; empty: where the adapter says.
        settle: from a place on a hub to the same at a commit, for the one that an adapter names.

    Raises:
        BadConfiguration: the scheme has no reader, its place can't be reached from here, a base is given for what is no
            adapter, or one is needed.
        BadInput: the folder is not a whole model, or its adapter is one that this version doesn't apply.
        StoreUnreachable: its place doesn't answer.
    """
    files = _files(uri)
    if not is_adapter(files):
        if base:
            raise BadConfiguration(f"{uri}: a whole model, and no adapter on {base}; leave `base` out")
        return ModelFolder(files, digests)
    on = settle(base or _named_base(files))
    folder = AdaptedFolder(_files(on), files, digests)
    folder.on = on
    return folder


def local_path(uri: str) -> Path:
    """The folder of a path, a `file://` or a `pvc://` URI.

    Raises:
        BadConfiguration: the scheme isn't of this machine, or the claim isn't mounted here.
    """
    path = file_path(uri)
    if path is not None:
        return path
    scheme, remedy = uri.partition("://")[0], "download the folder and give its path"
    raise BadConfiguration(f"{uri}: models can't be read from {scheme}:// in this version; {remedy}")


def _files(uri: str) -> Files:
    if uri.startswith("s3://"):
        return S3Files(uri)
    if uri.startswith("hf://"):
        return HubFiles(uri)
    return LocalFiles(local_path(uri))


def _named_base(adapter: Files) -> str:
    """Where the model lies that an adapter says it is on: a folder of this machine, else on the hub.

    A relative path is none of ours: what it is relative to, the adapter's maker knew.
    """
    config = read_config(adapter)
    named = config.base_model_name_or_path or ""
    if Path(named).is_absolute() and Path(named).is_dir():
        return named
    if re.fullmatch(MODEL, named):
        return str(hub.parse(f"hf://{named}" + (f"@{config.revision}" if config.revision else "")))
    raise BadInput(
        f"{adapter}/{CONFIG}: the model that it is on, {named!r}, is neither on a hub nor a folder of this machine; "
        "say where it lies: `base`, beside the adapter's `uri`"
    )
