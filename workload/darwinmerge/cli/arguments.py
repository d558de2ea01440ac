"""The manifest as an argument of a subcommand: `darwin run FILE`, or `-f FILE` as with kubectl."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


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
