"""What the documentation tells people to type exists: each `darwin` and `kubectl darwin` command parses, each `make`
target is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from darwinmerge.cli.main import cli
from kubectl_darwin.main import COMMANDS
from kubectl_darwin.main import cli as plugin

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [name for names in COMMANDS.values() for name in names]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page: str) -> Iterator[list[str]]:
    """The simple commands of a page's shell blocks, word by word, without comments, variables and redirections."""
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            command: list[str] = []
            for word in [*words, ";"]:
                if set(word) <= set("|&;<>()"):
                    yield command
                    command = []
                elif command or not re.match(r"\w+=", word):
                    command.append(word)


def told(program: str) -> list[list[str]]:
    """All commands of all pages that call a program, without its name."""
    return [words[1:] for page in PAGES for words in commands(page.read_text()) if words and words[0] == program]


def parse(words: list[str], cli: click.Group = cli) -> None:
    """Parse the arguments of `darwin`, or of the plugin, as it does, and do nothing.

    Raises:
        click.ClickException: it would refuse them.
    """
    name, arguments, parent = words[0], words[1:], click.Context(cli)
    command = cli.get_command(parent, name)
    if command is None:
        raise click.UsageError(f"no such command: {name}")
    command.make_context(name, arguments, parent)


@pytest.mark.parametrize("words", told("darwin"), ids=" ".join)
def test_a_darwin_command_of_the_docs_parses(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("words", [words[1:] for words in told("kubectl") if words[:1] == ["darwin"]], ids=" ".join)
def test_a_plugin_command_of_the_docs_parses(words: list[str]) -> None:
    parse(words, plugin)


def test_the_plugins_page_has_each_command_once_in_their_order() -> None:
    listed = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs" / "kubectl.md").read_text(), re.MULTILINE)
    assert listed[: len(NAMES)] == NAMES


@pytest.mark.parametrize("words", told("make"), ids=" ".join)
def test_a_make_target_of_the_docs_exists(words: list[str]) -> None:
    assert {word for word in words if "=" not in word} <= TARGETS


@pytest.mark.parametrize("words", [["evolve", "x.yaml"], ["run", "x.yaml", "--worker", "2"], ["health", "child"]])
def test_a_command_that_does_not_exist_is_found_out(words: list[str]) -> None:
    with pytest.raises(click.ClickException):
        parse(words)


def test_commands_are_found_whatever_stands_around_them() -> None:
    block = "A=1 darwin run a.yaml \\\n  --json | jq '.b | .c' > d    # e\nmake f; make g\n"
    page = f"text\n```sh\n{block}```\n```yaml\ndarwin h\n```\n"
    assert [words for words in commands(page) if words] == [
        ["darwin", "run", "a.yaml", "--json"],
        ["jq", ".b | .c"],
        ["d"],
        ["make", "f"],
        ["make", "g"],
    ]
