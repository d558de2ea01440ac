"""Which rows of a benchmark the search may see, which judge its finalists, and which are kept for the verdict.

Rows are known by a hash of their content. Rows that ask the same question, or share a declared group, stay on one
side: else the search would see a verdict question in other words. The partition is a pure function of
content and seed, so neither the order of a data set nor the machine changes it.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from darwinmerge.canonical import digest
from darwinmerge.errors import BadInput
from darwinmerge.experiment.manifest import BenchmarkTask
from darwinmerge.experiment.types import Frozen


class Row(Frozen):
    """One row of a data set."""

    split: str
    position: int  # in the split, after the task's own processing
    content: str  # SHA-256 of the row
    question: str  # SHA-256 of the question as the model sees it, normalised
    group: str = ""  # value of the declared group column


class TaskRows(Frozen):
    """The row sets of one task, each in the order in which it is asked."""

    task: str
    higher_is_better: bool
    search: tuple[Row, ...]
    fresh: tuple[Row, ...]
    verdict: tuple[Row, ...]


class RowSets(Frozen):
    """The row sets of a benchmark."""

    tasks: tuple[TaskRows, ...]


def content_hash(document: Any) -> str:
    """SHA-256 of a row's content, in hex."""
    return digest(json.loads(json.dumps(document, default=str)))


def question_hash(question: str) -> str:
    """SHA-256 of a question, in hex, in lower case and without its exact blanks."""
    return hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()


def partition(
    task: BenchmarkTask, search: Sequence[Row], verdict: Sequence[Row], higher_is_better: bool, seed: int
) -> TaskRows:
    """Divide a task's rows; where `search` and `verdict` share a split, the verdict's families are taken out first.

    Raises:
        BadInput: there are fewer rows than the manifest asks for.
    """
    families = _families([*search, *verdict])
    judged = _ordered(verdict, families, seed)
    shared = bool({row.split for row in search} & {row.split for row in verdict})
    wanted = task.verdict.rows if isinstance(task.verdict.rows, int) else len(judged)
    if task.verdict.rows == "Half" or (shared and task.verdict.rows == "All"):
        wanted = len(judged) // 2
    chosen = judged[:wanted]
    taken = {families[_key(row)] for row in chosen}
    left = [row for row in _ordered(search, families, seed) if families[_key(row)] not in taken]

    again = task.search.fresh if isinstance(task.search.fresh, int) else None
    n = task.search.rows if isinstance(task.search.rows, int) else max(1, len(left) - (again or 0))
    asked = {families[_key(row)] for row in left[:n]}
    fresh = [row for row in left[n:] if families[_key(row)] not in asked][: again or n]
    if again is None and len(fresh) < n:
        fresh = []  # Same: as many as there are search rows, or none
    wishes = {"verdict": (wanted, chosen), "search": (n, left[:n]), "search.fresh": (again or 0, fresh)}
    for name, (number, found) in wishes.items():
        if len(found) < number or (name != "search.fresh" and not found):
            raise BadInput(
                f"task {task.name}: {name} asks for {number} rows, {len(found)} are left (the data has {len(search)} "
                f"for the search, {len(verdict)} for the verdict, in families that stay together); ask for fewer"
            )
    return TaskRows(
        task=task.name,
        higher_is_better=higher_is_better,
        search=tuple(left[:n]),
        fresh=tuple(fresh),
        verdict=tuple(chosen),
    )


def _key(row: Row) -> tuple[str, int]:
    return row.split, row.position


def _families(rows: Sequence[Row]) -> dict[tuple[str, int], str]:
    """Rows connected by an equal question, equal content or an equal group, by a name of their family."""
    parent: dict[str, str] = {}

    def find(x: str) -> str:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for row in rows:
        marks = sorted({f"c:{row.content}", f"q:{row.question}", *([f"g:{row.group}"] if row.group else [])})
        roots = sorted(find(mark) for mark in marks)
        for root in roots[1:]:
            parent[find(root)] = find(roots[0])
    names: dict[str, str] = {}  # a family's name must not depend on the order in which it was joined
    for mark in sorted(parent):
        root = find(mark)
        names[root] = min(names.get(root, mark), mark)
    return {_key(row): names[find(f"c:{row.content}")] for row in rows}


def _ordered(rows: Sequence[Row], families: dict[tuple[str, int], str], seed: int) -> list[Row]:
    """Rows in a seeded order of their families, members together, each content once."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()

    ordered = sorted(rows, key=lambda row: (draw(families[_key(row)]), row.content, row.split, row.position))
    seen: set[str] = set()
    return [row for row in ordered if not (row.content in seen or seen.add(row.content))]  # type: ignore[func-returns-value]
