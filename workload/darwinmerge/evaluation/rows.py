"""Which rows of a benchmark the search may see, which judge its finalists, and which are kept for the verdict.

Rows are known by a hash of their content. Rows that ask the same question, or share a declared group, stay on one
side, in whichever task they are: else the search would see a verdict question in other words. The partition is a
pure function of content and seed, so neither the order of a data set nor the machine changes it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from darwinmerge.canonical import digest
from darwinmerge.errors import BadInput
from darwinmerge.experiment.benchmark import BenchmarkTask
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
    group: str = ""  # the group of the manifest that it is a task of
    share: float = 1.0  # of the manifest's weight that is this task's
    column: str = ""  # that groups its rows
    config: str = ""  # SHA-256 of what lm-eval makes a task of: prompts, filters, metrics
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


class Rows(Frozen):
    """What a task has: its rows for the search and for the verdict, which may be the same."""

    task: BenchmarkTask
    search: tuple[Row, ...]
    verdict: tuple[Row, ...]
    higher_is_better: bool
    group: str = ""
    share: float = 1.0
    config: str = ""


Key = tuple[str, str, int]  # a row: its task, split and position
Families = Mapping[Key, str]  # the name of each row's family


def partition(tasks: Sequence[Rows], seed: int) -> RowSets:
    """Divide the rows of all tasks: first the verdict's, then the search's of what has nothing in common with them.

    What two tasks have in common counts too: a question, or a group of one column, that one of them is judged on is not
    asked by another's search.

    Raises:
        BadInput: there are fewer rows than the manifest asks for.
    """
    families = _families([(rows.task, row) for rows in tasks for row in (*rows.search, *rows.verdict)])
    judged = [_judged(rows, families, seed) for rows in tasks]
    pairs = list(zip(tasks, judged, strict=True))
    taken = {families[_key(rows.task, row)] for rows, chosen in pairs for row in chosen}
    return RowSets(tasks=tuple(_searched(rows, chosen, families, taken, seed) for rows, chosen in pairs))


def _judged(rows: Rows, families: Families, seed: int) -> list[Row]:
    """Rows for the verdict."""
    wish = rows.task.verdict.rows
    ordered = _ordered(rows.task, rows.verdict, families, seed)
    shared = bool({row.split for row in rows.search} & {row.split for row in rows.verdict})
    wanted = wish if isinstance(wish, int) else len(ordered)
    if wish == "Half" or (shared and wish == "All"):
        wanted = len(ordered) // 2
    return _enough("verdict", wanted, ordered[:wanted], rows)


def _searched(rows: Rows, judged: Sequence[Row], families: Families, taken: Set[str], seed: int) -> TaskRows:
    """Rows for the search, and fresh ones for its finalists; none of a family of which the verdict has a member."""
    task = rows.task
    left = [row for row in _ordered(task, rows.search, families, seed) if families[_key(task, row)] not in taken]
    again = task.search.fresh if isinstance(task.search.fresh, int) else None
    n = task.search.rows if isinstance(task.search.rows, int) else max(1, len(left) - (again or 0))
    asked = {families[_key(task, row)] for row in left[:n]}
    fresh = [row for row in left[n:] if families[_key(task, row)] not in asked][: again or n]
    if again is None and len(fresh) < n:
        fresh = []  # Same: as many as there are search rows, or none
    return TaskRows(
        task=task.name,
        group=rows.group,
        share=rows.share,
        column=task.group_by,
        config=rows.config,
        higher_is_better=rows.higher_is_better,
        search=tuple(_enough("search", n, left[:n], rows)),
        fresh=tuple(_enough("search.fresh", again or 0, fresh, rows)),
        verdict=tuple(judged),
    )


def _enough(name: str, wanted: int, found: list[Row], rows: Rows) -> list[Row]:
    if len(found) < wanted or (name != "search.fresh" and not found):
        raise BadInput(
            f"task {rows.task.name}: {name} asks for {wanted} rows, {len(found)} are left (the data has "
            f"{len(rows.search)} for the search, {len(rows.verdict)} for the verdict, in families that stay together); "
            "ask for fewer"
        )
    return found


def portions(total: int, sizes: Sequence[int]) -> list[int]:
    """`total` rows of a group shared out among its tasks by their sizes; at least one each."""
    exact = [total * size / sum(sizes) for size in sizes]
    found = [max(1, int(share)) for share in exact]
    rests = sorted(range(len(sizes)), key=lambda i: (found[i] - exact[i], i))
    for i in rests[: max(0, total - sum(found))]:
        found[i] += 1
    return found


def marks_of(row: Row, column: str) -> tuple[str, ...]:
    """What two rows may have in common; a group by its column's name, in whichever task."""
    group = (f"g:{column}:{row.group}",) if row.group else ()
    return (f"c:{row.content}", f"q:{row.question}", *group)


def _key(task: BenchmarkTask, row: Row) -> Key:
    return task.name, row.split, row.position


def _families(rows: Sequence[tuple[BenchmarkTask, Row]]) -> Families:
    """Rows connected by an equal question, equal content or an equal group, by a name of their family."""
    parent: dict[str, str] = {}

    def find(x: str) -> str:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for task, row in rows:
        roots = sorted(find(mark) for mark in marks_of(row, task.group_by))
        for root in roots[1:]:
            parent[find(root)] = find(roots[0])
    names: dict[str, str] = {}  # a family's name must not depend on the order in which it was joined
    for mark in sorted(parent):
        root = find(mark)
        names[root] = min(names.get(root, mark), mark)
    return {_key(task, row): names[find(f"c:{row.content}")] for task, row in rows}


def _ordered(task: BenchmarkTask, rows: Sequence[Row], families: Families, seed: int) -> list[Row]:
    """Rows in a seeded order of their families, members together, each content once."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()

    ordered = sorted(rows, key=lambda row: (draw(families[_key(task, row)]), row.content, row.split, row.position))
    seen: set[str] = set()
    return [row for row in ordered if not (row.content in seen or seen.add(row.content))]  # type: ignore[func-returns-value]
