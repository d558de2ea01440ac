"""Arguments that subcommands share: a manifest (`FILE`, or `-f FILE` as with kubectl), a run, a pod's orders."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from darwinmerge.errors import BadConfiguration, VersionSkew
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.claim import noted
from darwinmerge.pipeline.orders import Orders
from darwinmerge.store import open_store

TERMINATION_LOG = Path("/dev/termination-log")  # where a kubelet looks for a container's message


def takes_manifest(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `path`, from its argument or from `-f`."""

    @click.argument("file", type=click.Path(path_type=Path), required=False)
    @click.option("-f", "--filename", type=click.Path(path_type=Path), help="The manifest, as with kubectl.")
    @wraps(command)
    def wrapped(file: Path | None, filename: Path | None, **rest: Any) -> Any:
        if (file is None) == (filename is None):
            raise click.UsageError("give one manifest, as FILE or with -f FILE")
        return command(path=file or filename, **rest)

    return wrapped


def takes_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `experiment`, from its argument: a manifest, or the store of a run."""

    @click.argument("run")
    @wraps(command)
    def wrapped(run: str, **rest: Any) -> Any:
        return command(experiment=experiment_at(run), **rest)

    return wrapped


def experiment_at(run: str) -> Experiment:
    """The experiment of a manifest, or of a store: a folder, or `s3://bucket/prefix`.

    Raises:
        BadConfiguration: it is neither.
    """
    if "://" not in run and Path(run).suffix in (".yaml", ".yml", ".json"):
        return experiment_of(load(Path(run)), Path(run).parent)
    if "://" not in run and not Path(run).is_dir():
        raise BadConfiguration(f"{run}: neither a manifest (.yaml) nor the store of a run")
    found = noted(open_store(run))
    here = run if "://" in run else str(Path(run).resolve())  # it may have been copied, or fetched from a cluster
    return found.model_copy(update={"where": found.where.model_copy(update={"store": here})})


def takes_orders(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `orders`, from a file or DARWIN_ORDERS, and `message`, the file for its answer."""

    @click.option(
        "--orders", "file", type=click.Path(path_type=Path), help="Orders as JSON; else DARWIN_ORDERS has them."
    )
    @click.option(
        "--message",
        type=click.Path(path_type=Path),
        envvar="DARWIN_TERMINATION_LOG",
        help="File for the answer; in a pod /dev/termination-log.",
    )
    @wraps(command)
    def wrapped(file: Path | None, message: Path | None, **rest: Any) -> Any:
        if message is None and TERMINATION_LOG.exists():
            message = TERMINATION_LOG
        return command(orders=read_orders(file), message=message, **rest)

    return wrapped


def read_orders(file: Path | None) -> Orders:
    """The orders in a file, or in the environment.

    Raises:
        BadConfiguration: there are none.
        VersionSkew: this version can't read them.
    """
    where = str(file) if file else "DARWIN_ORDERS"
    try:
        text = file.read_text() if file else os.environ.get("DARWIN_ORDERS", "")
    except OSError as error:
        raise BadConfiguration(f"--orders {file}: {error.strerror}") from None
    if not text:
        raise BadConfiguration("no orders; give --orders FILE, or set DARWIN_ORDERS")
    try:
        return Orders.model_validate_json(text)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        raise VersionSkew("\n  ".join([f"{where}: not orders of this version:", *lines])) from None
