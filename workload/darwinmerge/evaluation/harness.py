"""lm-eval's tasks by name: where they come from, which rows they have, and what may run code.

`lm_eval.simple_evaluate` runs a task in one go. Here the rows of a task are known one by one, so that some of them
can be kept for the verdict, and its questions are asked in chunks (`questions.py`).
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darwinmerge.errors import BadConfiguration, BadInput, DarwinError
from darwinmerge.evaluation.lm_task import choices_of, digest_of, require_metric, require_repeatable
from darwinmerge.evaluation.questions import Prompting, Questions
from darwinmerge.evaluation.rows import Row, Rows, RowSets, content_hash, marks_of, partition, portions, question_hash
from darwinmerge.evaluation.task_file import REMEDY, config_of
from darwinmerge.evaluation.unloadable import unloadable
from darwinmerge.experiment.benchmark import TASK_NAME, BenchmarkTask

PLAIN = Prompting()


def quiet() -> None:
    """Keep lm-eval's libraries off the network's progress bars and their warnings off the terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("lm_eval", "lm-eval", "datasets", "transformers", "fsspec"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _sandbox_templates() -> None:
    """Render task templates in jinja's sandbox: lm-eval's plain environment lets a YAML file call anything."""
    import lm_eval.utils
    from jinja2.sandbox import SandboxedEnvironment

    plain = lm_eval.utils.env
    if not isinstance(plain, SandboxedEnvironment):
        sandbox = SandboxedEnvironment(
            loader=plain.loader, undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline
        )
        sandbox.filters.update(plain.filters)
        lm_eval.utils.env = sandbox


class Benchmark:
    """lm-eval tasks by name, from lm-eval itself and from a folder of the user's."""

    def __init__(self, task_folder: str, allow_code: Sequence[str] = ()) -> None:
        """Tasks of `task_folder`, if not empty, before lm-eval's own; those of `allow_code` may run code."""
        quiet()
        from lm_eval.tasks import TaskManager

        _sandbox_templates()
        if task_folder and not Path(task_folder).is_dir():
            raise BadConfiguration(f"spec.evaluation.taskFolder: {task_folder} is not a folder")
        self._own: Any = TaskManager(include_path=task_folder, include_defaults=False) if task_folder else None
        self._allowed = frozenset(allow_code)
        self._manager: Any = None
        self._loaded: dict[str, Any] = {}
        self._digests: dict[str, str] = {}
        self._built: dict[tuple[Any, ...], Questions] = {}

    def task(self, wanted: BenchmarkTask) -> Any:
        """lm-eval's task object.

        Raises:
            BadConfiguration: there is no such task, or it needs code or a sampled answer, or hasn't the metric.
        """
        if wanted.name not in self._loaded:
            self._loaded[wanted.name] = self._load(wanted.name)
            self._digests[wanted.name] = digest_of(self._loaded[wanted.name])  # without the manifest's arguments
        task = self._loaded[wanted.name]
        require_metric(task, wanted)
        require_repeatable(task, wanted)
        return task

    def loaded(self, name: str) -> Any:
        """lm-eval's object of a task that was asked for before."""
        return self._loaded[name]

    def _index(self, name: str) -> tuple[Any, Any]:
        """The manager that knows a name, and its entry."""
        if self._own is not None and name in self._own.task_index:
            return self._own, self._own.task_index[name]
        from lm_eval.tasks import TaskManager

        self._manager = self._manager or TaskManager()  # reads thousands of files: only when it is needed
        entry = self._manager.task_index.get(name)
        if entry is None:
            known = ", ".join(sorted(self._own.task_index)) if self._own else "none"
            raise BadConfiguration(
                f"task {name}: lm-eval has no such task, and spec.evaluation.taskFolder has: {known}"
            )
        return self._manager, entry

    def _load(self, name: str) -> Any:
        manager, entry = self._index(name)
        allowed = name in self._allowed
        own = manager is self._own and entry.yaml_path is not None
        try:
            spec = config_of(Path(entry.yaml_path), allowed) if own else name
            task = manager.load(spec)["tasks"][name]
        except DarwinError as error:
            raise type(error)(f"task {name}: {error}") from None
        except Exception as error:
            told = unloadable(name, error)
            if told is None:
                raise
            raise told from error
        config = task.config
        unsafe = getattr(task, "UNSAFE_CODE", False) or getattr(config, "unsafe_code", False)
        if not allowed and (unsafe or (config.dataset_kwargs or {}).get("trust_remote_code")):
            raise BadConfiguration(f"task {name}: it runs what a model answers, or its data set's code; {REMEDY}")
        return task

    def leaves(self, name: str, inside: tuple[str, ...] = ()) -> dict[str, bool]:
        """The tasks of a group, its groups' included, and whether a task weighs as many rows as it has; none of a task.

        Raises:
            BadConfiguration: the group can't be taken apart.
        """
        from lm_eval.tasks._index import Kind
        from lm_eval.tasks._yaml_loader import load_yaml

        manager, entry = self._index(name)
        if name in inside:
            raise BadConfiguration(f"task {name}: this group holds itself, by way of {' and '.join(inside)}")
        if entry.kind not in (Kind.GROUP, Kind.TAG):
            return {}
        if entry.kind == Kind.TAG:  # lm-eval gives no mean over a tag: each task counts the same
            tagged = [other.name for other in manager.task_index.values() if name in other.tags]
            return {member: False for member in tagged if self._named(name, member)}
        config = load_yaml(entry.yaml_path, resolve_func=False) if entry.yaml_path else dict(entry.cfg or {})
        means, members = (_listed(config.get(key) or []) for key in ("aggregate_metric_list", "task"))
        by_size = all(mean.get("weight_by_size", True) for mean in means)
        found: dict[str, bool] = {}
        for member in members:
            inner = self.leaves(self._named(name, member), (*inside, name))
            found |= dict.fromkeys(inner or [member], by_size)
        return found

    @staticmethod
    def _named(group: str, member: Any) -> str:
        if not isinstance(member, str) or not re.fullmatch(TASK_NAME, member):
            raise BadConfiguration(
                f"task {group}: this group holds a task without a plain name; name its tasks one by one"
            )
        return member

    def row_sets(self, tasks: Sequence[BenchmarkTask], seed: int) -> RowSets:
        """The rows of each task, divided; groups expand to their tasks. See `rows.partition`."""
        found = [rows for task in tasks for rows in self._rows_of(task)]
        names = [rows.task.name for rows in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadConfiguration(f"task {twice[0]} comes in twice, by itself or by a group; name it once")
        return partition(found, seed)

    def _rows_of(self, wanted: BenchmarkTask) -> list[Rows]:
        leaves = self.leaves(wanted.name)
        if not leaves:
            return [self._found(wanted)]
        found = [self._found(wanted.model_copy(update={"name": name})) for name in leaves]
        sizes = [len(rows.verdict) for rows in found]
        weights = sizes if all(leaves.values()) else [1] * len(sizes)
        searched = _shared_out(wanted.search.rows, sizes)
        fresh = _shared_out(wanted.search.fresh, sizes)
        judged = _shared_out(wanted.verdict.rows, sizes)
        return [
            rows.model_copy(
                update={
                    "task": rows.task.model_copy(
                        update={
                            "search": wanted.search.model_copy(update={"rows": searched[i], "fresh": fresh[i]}),
                            "verdict": wanted.verdict.model_copy(update={"rows": judged[i]}),
                        }
                    ),
                    "group": wanted.name,
                    "share": weights[i] / sum(weights),
                }
            )
            for i, rows in enumerate(found)
        ]

    def _found(self, wanted: BenchmarkTask) -> Rows:
        task = self.task(wanted)
        c = task.config
        verdict = wanted.verdict.split or c.test_split or c.validation_split
        own = [split for split in (c.training_split, c.validation_split) if split and split != verdict]
        search = list(wanted.search.splits) or own or [verdict]
        rows = {split: self._rows(wanted, split) for split in {verdict, *search}}
        return Rows(
            task=wanted,
            search=tuple(row for split in search for row in rows[split]),
            verdict=rows[verdict],
            config=self._digests[wanted.name],
            higher_is_better=bool(task.higher_is_better()[wanted.metric.partition(",")[0]]),
        )

    def _rows(self, wanted: BenchmarkTask, split: str) -> tuple[Row, ...]:
        documents = self.documents(wanted, split)
        return tuple(self._row(wanted, document, split, i) for i, document in enumerate(documents))

    def _row(self, wanted: BenchmarkTask, document: Any, split: str, position: int) -> Row:
        if wanted.group_by and wanted.group_by not in document:
            raise BadConfiguration(
                f"task {wanted.name}: no column '{wanted.group_by}' to group by; there are: {', '.join(document)}"
            )
        task = self.task(wanted)
        group = str(document[wanted.group_by]) if wanted.group_by else ""
        question = question_hash(str(task.doc_to_text(document)) + "\n" + choices_of(task, document))
        return Row(split=split, position=position, content=content_hash(document), question=question, group=group)

    def documents(self, wanted: BenchmarkTask, split: str) -> Any:
        """A split's documents as the task's own processing leaves them."""
        task = self.task(wanted)
        if split not in task.dataset:
            raise BadConfiguration(f"task {wanted.name}: no split '{split}'; there are: {', '.join(task.dataset)}")
        process = task.config.process_docs
        return process(task.dataset[split]) if process else task.dataset[split]

    def questions(
        self, wanted: BenchmarkTask, sets: RowSets, chosen: Sequence[Row], prompting: Prompting = PLAIN
    ) -> Questions:
        """The requests of `chosen` rows, all built at once, in order; the same rows are built once.

        Raises:
            BadInput: the task, or a row, isn't what it was when the rows were divided.
        """
        (began,) = [rows.config for rows in sets.tasks if rows.task == wanted.name]
        self.task(wanted)
        if began != self._digests[wanted.name]:
            raise BadInput(
                f"task {wanted.name}: its file, or lm-eval's, has changed since this run began; restore it, or begin a "
                "new run in another store"
            )
        key = (wanted, prompting, sets, tuple(chosen))
        if key not in self._built:
            documents = self._chosen(wanted, chosen)
            pool = self._examples(wanted, sets) if wanted.num_fewshot else []
            self._built[key] = Questions(self.task(wanted), wanted, documents, pool, prompting)
        return self._built[key]

    def _chosen(self, wanted: BenchmarkTask, chosen: Sequence[Row]) -> list[Any]:
        splits = {split: self.documents(wanted, split) for split in {row.split for row in chosen}}
        documents = []
        for row in chosen:
            document = splits[row.split][row.position] if row.position < len(splits[row.split]) else None
            if document is None or content_hash(document) != row.content:
                raise BadInput(
                    f"task {wanted.name}: row {row.position} of split {row.split} has changed since this run began; "
                    "restore the data set, or begin a new run in another store"
                )
            documents.append(document)
        return documents

    def _examples(self, wanted: BenchmarkTask, sets: RowSets) -> list[Any]:
        """Few-shot examples: nothing that has content, question or group in common with a row of the verdict."""
        marks = {mark for rows in sets.tasks for row in rows.verdict for mark in marks_of(row, rows.column)}
        task = self.task(wanted)
        documents = list(task.fewshot_docs())
        indices = task.sampler.fewshot_indices
        pool = []
        for document in [documents[i] for i in indices] if indices else documents:
            row = self._row(wanted, document, "", 0)
            if marks.isdisjoint(marks_of(row, wanted.group_by)):
                pool.append(document)
        if len(pool) <= wanted.num_fewshot:
            raise BadInput(
                f"task {wanted.name}: numFewshot {wanted.num_fewshot}, and {len(pool)} examples are left that have "
                "nothing in common with rows of the verdict; ask for fewer examples, or keep fewer rows for the verdict"
            )
        return pool


def _shared_out(wish: int | str, sizes: Sequence[int]) -> list[Any]:
    return portions(wish, sizes) if isinstance(wish, int) else [wish] * len(sizes)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
