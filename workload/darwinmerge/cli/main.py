"""`darwin`: the command's entry, and what all its subcommands share.

An error of ours is one clear line and an exit code that says who must act; the traceback only with `--debug`.
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from darwinmerge import __version__
from darwinmerge.errors import DarwinError, ExitCode

Topics = Mapping[str, Sequence[str]]  # names of commands, by what they are about
COMMANDS: Topics = {
    "An experiment": ("init", "validate", "run", "resume"),
    "Its runs": ("ls", "show", "report", "gc"),
    "Models, by hand": ("mri", "merge", "health", "verify"),
    "In a pod": ("work", "recall"),
}

EXAMPLES = """
\b
Examples:
  darwin init --father A --mother B --task arc_challenge:acc_norm    write merge.yaml, commented
  darwin validate -f merge.yaml      check it, see what it costs and what it can show
  darwin run merge.yaml              run it on this machine; the same command goes on after any stop
  darwin run merge.yaml --workers 2  the same result, faster
  darwin ls                          the runs below this folder, and how far they are
  darwin show runs/merge             one of them: scores, best genome, verdict
  darwin resume runs/merge --steps 20    more generations, from its store alone
  darwin report runs/merge           all of it as one page
  darwin gc runs/merge               what nobody needs any more of it
  darwin mri A B                     where two models differ, tensor by tensor
  darwin merge --father A --mother B --genome ratio=0.5 -o child
  darwin health child A B            a child's layers beside its parents'
  darwin verify child                is it what its record says, bit for bit?
"""

UNREAD = 128 + signal.SIGPIPE  # the exit code of a program whose output nobody reads on


@contextmanager
def _to_a_reader() -> Iterator[None]:
    """End quietly, with 141 as other programs do, once nobody reads what is printed: `darwin ls | head -1`.

    The signal itself stays off: it would end a run at any connection that breaks, a worker's or the store's.
    """
    try:
        yield
    except (BrokenPipeError, SystemExit) as end:  # rich makes an exit with 1 of it, and so would click
        if not any(isinstance(error, BrokenPipeError) for error in (end, end.__context__)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        sys.exit(UNREAD)


class Lazy(click.Group):
    """A group that imports the one subcommand it is asked for: a third of the start-up of `darwin mri`."""

    def __init__(self, *arguments: Any, package: str, topics: Topics, **more: Any) -> None:
        """A group of the commands in `topics`, each the function of its name in the module of its name in `package`."""
        super().__init__(*arguments, **more)
        self._package, self._topics = package, topics

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Subcommands in the order of their use."""
        return [name for names in self._topics.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Subcommands under what they are about, a sentence each."""
        for title, names in self._topics.items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(name, command.get_short_help_str(150)) for name, command in commands if command])

    @_to_a_reader()
    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """As a group does; here `--help` prints."""
        return super().make_context(*arguments, **more)

    @_to_a_reader()
    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand `cmd_name`, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"{self._package}.{cmd_name}"), cmd_name)
        return command


@click.group(
    cls=Lazy,
    package="darwinmerge.cli",
    topics=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="darwin")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Evolve a language model from two fine-tunes of one base, and say honestly whether it beats them.

    A DarwinMerge manifest names two parents, a benchmark and a place. Darwin diagnoses every tensor of both
    parents, searches for a recipe, merges and benchmarks real children, checks the best one's health, and
    judges it on questions that the search never saw.
    """


def main() -> None:
    """Run `darwin`."""
    run(cli, "darwin")


@_to_a_reader()
def run(group: click.Group, name: str) -> None:
    """Run a command line, and turn errors into lines and exit codes.

    SIGTERM ends every command as interrupted, from the first moment on: a container's first process ignores a signal
    that it has no handler for. Commands that can stop in a better way install their own.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))
    debug = "--debug" in sys.argv
    try:
        sys.exit(group.main(prog_name=name, standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.BAD_CONFIGURATION)
    except DarwinError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"{'' if error.code == ExitCode.INTERRUPTED else 'error: '}{error}", err=True)
        sys.exit(error.code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug else "; --debug shows where"
        click.echo(f"error: a defect of ours: {type(error).__name__}: {error}{hint}", err=True)
        sys.exit(ExitCode.INTERNAL)
