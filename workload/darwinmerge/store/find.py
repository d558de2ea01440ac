"""Experiments below a place, by the one object that every store of an experiment has, without reading any."""

import os
from collections.abc import Iterator
from pathlib import Path

from darwinmerge import s3
from darwinmerge.errors import BadConfiguration
from darwinmerge.store import layout
from darwinmerge.uri import file_path

DEPTH = 4  # folders below a place: deeper than people file their runs, and soon done in a tree of anything


def stores_below(place: str) -> Iterator[str]:
    """URIs and paths of stores at or below `place`, in order; a store isn't looked into, nor is a hidden folder.

    Raises:
        BadConfiguration: there is no such folder.
        StoreUnreachable: S3 doesn't answer.
    """
    folder = file_path(place)
    if folder is None:
        yield from _in_bucket(*s3.parse(place), DEPTH)
    elif folder.is_dir():
        yield from (str(found) for found in _in_folder(folder, DEPTH))
    else:
        raise BadConfiguration(f"{place}: no such folder")


def _in_folder(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / layout.EXPERIMENT).is_file():
        yield folder
        return
    try:
        inner = sorted(e.name for e in os.scandir(folder) if e.is_dir(follow_symlinks=False) and e.name[0] != ".")
    except PermissionError:
        return
    for name in inner if depth else ():
        yield from _in_folder(folder / name, depth - 1)


def _in_bucket(bucket: str, prefix: str, depth: int) -> Iterator[str]:
    folder = f"{prefix}/" if prefix else ""
    if next(s3.listed(bucket, folder + layout.EXPERIMENT, MaxKeys=1), None):
        yield f"s3://{bucket}/{prefix}"
        return
    for inner in s3.folders(bucket, folder) if depth else ():
        yield from _in_bucket(bucket, inner, depth - 1)
