"""lm-eval, asked question by question: its tasks, prompts, requests, filters and metrics, our rows and chunks.

`lm_eval.simple_evaluate` runs a task in one go. Here the requests of a whole row set are built once, in
order (lm-eval's few-shot sampler draws document after document), and sent in chunks that the experiment fixes,
so that a resumed evaluation sends the same batches as an undisturbed one.
"""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.evaluation.rows import Row, RowSets, TaskRows, content_hash, partition, question_hash
from darwinmerge.experiment.manifest import BenchmarkTask

FEWSHOT_SEED = 1234  # lm-eval's own default


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

    def __init__(self, task_folder: str) -> None:
        """Tasks of `task_folder`, if not empty, before lm-eval's own."""
        quiet()
        from lm_eval.tasks import TaskManager

        _sandbox_templates()
        if task_folder and not Path(task_folder).is_dir():
            raise BadConfiguration(f"spec.evaluation.taskFolder: {task_folder} is not a folder")
        self._own: Any = TaskManager(include_path=task_folder, include_defaults=False) if task_folder else None
        self._manager: Any = None
        self._loaded: dict[str, Any] = {}

    def task(self, wanted: BenchmarkTask) -> Any:
        """lm-eval's task object.

        Raises:
            BadConfiguration: there is no such task, or it needs code or a group, or hasn't the metric.
        """
        if wanted.name not in self._loaded:
            self._loaded[wanted.name] = self._load(wanted.name)
        task = self._loaded[wanted.name]
        _check_metric(task, wanted)
        return task

    def _load(self, name: str) -> Any:
        manager = self._own
        if manager is None or name not in manager.task_index:
            from lm_eval.tasks import TaskManager

            self._manager = self._manager or TaskManager()  # reads thousands of files: only when it is needed
            manager = self._manager
        entry = manager.task_index.get(name)
        if entry is None:
            known = ", ".join(sorted(self._own.task_index)) if self._own else "none"
            raise BadConfiguration(
                f"task {name}: lm-eval has no such task, and spec.evaluation.taskFolder has: {known}"
            )
        own = manager is self._own and entry.yaml_path is not None
        spec = _own_config(Path(entry.yaml_path)) if own else name
        try:
            tasks = manager.load(spec)["tasks"]
        except Exception as error:
            raise BadInput(f"task {name}: lm-eval can't load it: {type(error).__name__}: {error}") from error
        if list(tasks) != [name]:
            raise BadConfiguration(f"task {name}: it is a group; name its tasks one by one: {', '.join(sorted(tasks))}")
        return tasks[name]

    def row_sets(self, tasks: Sequence[BenchmarkTask], seed: int) -> RowSets:
        """The rows of each task, divided; see `rows.partition`."""
        return RowSets(tasks=tuple(self._divide(task, seed) for task in tasks))

    def _divide(self, wanted: BenchmarkTask, seed: int) -> TaskRows:
        task = self.task(wanted)
        c = task.config
        verdict = wanted.verdict.split or c.test_split or c.validation_split
        own = [split for split in (c.training_split, c.validation_split) if split and split != verdict]
        search = list(wanted.search.splits) or own or [verdict]
        rows = {split: self._rows(wanted, split) for split in {verdict, *search}}
        higher = bool(task.higher_is_better()[wanted.metric.partition(",")[0]])
        return partition(wanted, [row for split in search for row in rows[split]], rows[verdict], higher, seed)

    def _rows(self, wanted: BenchmarkTask, split: str) -> list[Row]:
        task, rows = self.task(wanted), []
        for position, document in enumerate(self.documents(wanted, split)):
            if wanted.group_by and wanted.group_by not in document:
                raise BadConfiguration(
                    f"task {wanted.name}: no column '{wanted.group_by}' to group by; there are: {', '.join(document)}"
                )
            group = str(document[wanted.group_by]) if wanted.group_by else ""
            question = question_hash(str(task.doc_to_text(document)) + "\n" + _choices(task, document))
            rows.append(
                Row(split=split, position=position, content=content_hash(document), question=question, group=group)
            )
        return rows

    def documents(self, wanted: BenchmarkTask, split: str) -> Any:
        """A split's documents as the task's own processing leaves them."""
        task = self.task(wanted)
        if split not in task.dataset:
            raise BadConfiguration(f"task {wanted.name}: no split '{split}'; there are: {', '.join(task.dataset)}")
        process = task.config.process_docs
        return process(task.dataset[split]) if process else task.dataset[split]

    def questions(self, wanted: BenchmarkTask, rows: TaskRows, chosen: Sequence[Row]) -> "Questions":
        """The requests of `chosen` rows, all built at once, in order.

        Raises:
            BadInput: a row isn't what it was when the rows were divided.
        """
        task = self.task(wanted)
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
        return Questions(task, wanted, documents, {row.content for row in rows.verdict})


class Questions:
    """Documents of one task with their requests, to be asked chunk by chunk."""

    def __init__(self, task: Any, wanted: BenchmarkTask, documents: Sequence[Any], verdict: set[str]) -> None:
        """Build the requests of `documents`; few-shot examples are never rows of the verdict."""
        self._task, self._wanted, self._documents = task, wanted, documents
        if wanted.num_fewshot:
            pool = [d for d in task.fewshot_docs() if content_hash(d) not in verdict]
            task.sampler.replace_df(pool)
        task.set_fewshot_seed(FEWSHOT_SEED)
        self.requests: list[list[Any]] = []
        for number, document in enumerate(documents):
            prefix = task.doc_to_prefix(document)
            context = task.fewshot_context(document, num_fewshot=wanted.num_fewshot, gen_prefix=prefix)
            built = task.construct_requests(
                doc=document, ctx=context, metadata=(wanted.name, number, task.config.repeats)
            )
            self.requests.append(built if isinstance(built, list) else [built])

    def ask(self, model: Any, start: int, stop: int) -> list[list[Any]]:
        """A model's responses to documents `start` to `stop` (exclusive), a list a document."""
        asked = [
            request for requests in self.requests[start:stop] for request in requests for _ in range(request.repeats)
        ]
        kinds = {request.request_type for request in asked}
        responses: dict[int, Any] = {}
        for kind in sorted(kinds):
            of_kind = [(i, request) for i, request in enumerate(asked) if request.request_type == kind]
            answers = getattr(model, kind)([request for _, request in of_kind], disable_tqdm=True)
            responses |= {i: answer for (i, _), answer in zip(of_kind, answers, strict=True)}
        flat = iter(responses[i] for i in range(len(asked)))
        return [[next(flat) for r in requests for _ in range(r.repeats)] for requests in self.requests[start:stop]]

    def metric(self, responses: Sequence[Sequence[Any]]) -> list[float]:
        """The metric of each document, from all its responses, by the task's own filters and code."""
        name, _, key = self._wanted.metric.partition(",")
        flat = [request for requests in self.requests for request in requests]
        for requests, given in zip(self.requests, responses, strict=True):
            answers = iter(given)
            for request in requests:
                request.resps = [_tuple(next(answers)) for _ in range(request.repeats)]
                request.filtered_resps = {}
        self._task._instances = flat
        self._task.apply_filters()
        values = []
        for document, requests in zip(self._documents, self.requests, strict=True):
            filtered = [request.filtered_resps[key] for request in requests]
            value = float(self._task.process_results(document, filtered)[name])
            if not 0 <= value <= 1:
                raise BadConfiguration(
                    f"task {self._wanted.name}: metric {self._wanted.metric} gives {value:g} for a question; only "
                    "means over questions of values within 0..1 can be weighed against each other"
                )
            values.append(value)
        return values


def finite(responses: Sequence[Sequence[Any]]) -> bool:
    """False if any log-likelihood among the responses is NaN or infinite: argmax over NaN would still score."""
    numbers = (x for given in responses for response in given for x in _numbers(response))
    return all(math.isfinite(x) for x in numbers)


def _numbers(response: Any) -> list[float]:
    values = response if isinstance(response, list | tuple) else [response]
    return [x for x in values if isinstance(x, float)]


def _tuple(response: Any) -> Any:
    return tuple(response) if isinstance(response, list) else response


def _choices(task: Any, document: Any) -> str:
    """Choices are part of a question: 'which of these' is a different one with others."""
    return "\n".join(sorted(map(str, task.doc_to_choice(document)))) if task.config.doc_to_choice is not None else ""


def _own_config(yaml_path: Path) -> dict[str, Any]:
    """A task's YAML with absolute data files: relative ones start at the YAML's folder, or the one above it."""
    from lm_eval.tasks._yaml_loader import load_yaml

    _refuse_code(yaml_path)
    config: dict[str, Any] = dict(load_yaml(yaml_path, resolve_func=False))
    kwargs = dict(config.get("dataset_kwargs") or {})
    if kwargs.pop("trust_remote_code", None):
        raise BadConfiguration(f"{yaml_path}: it asks for trust_remote_code, which this version doesn't allow")

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: absolute(v) for k, v in value.items()}
        if isinstance(value, list):
            return [absolute(v) for v in value]
        if not isinstance(value, str) or "://" in value or Path(value).is_absolute():
            return value
        tried = [folder / value for folder in (yaml_path.parent, yaml_path.parent.parent)]
        found = next((path for path in tried if path.exists()), None)
        if found is None:
            raise BadInput(f"{yaml_path}: data file {value} is neither beside it nor one folder up")
        return str(found.resolve())

    for key in ("data_files", "data_dir"):
        if key in kwargs:
            kwargs[key] = absolute(kwargs[key])
    return config | {"dataset_kwargs": kwargs}


class _Plain(yaml.SafeLoader):
    """YAML without tags: lm-eval's own would import code."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
    raise BadConfiguration(f"it runs code of its own (!{suffix}), which this version doesn't allow")


_Plain.add_multi_constructor("!", _tagged)


def _refuse_code(path: Path) -> None:
    """Refuse a task file that brings code, or includes one that does.

    Raises:
        BadConfiguration: naming the file.
    """
    try:
        config = yaml.load(path.read_text(), _Plain)
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(config, dict):
        return
    if config.get("unsafe_code") or "class" in config:
        raise BadConfiguration(f"{path}: it runs code of its own, which this version doesn't allow")
    included = config.get("include") or []
    for other in included if isinstance(included, list) else [included]:
        _refuse_code(path.parent / str(other))


def _check_metric(task: Any, wanted: BenchmarkTask) -> None:
    from lm_eval.api.metrics import mean

    filters = [f.name for f in task._filters]
    allowed = [f"{m},{f}" for m, aggregate in sorted(task.aggregation().items()) if aggregate is mean for f in filters]
    if wanted.metric not in allowed:
        raise BadConfiguration(
            f"task {wanted.name}: metric {wanted.metric} is not one of its means over questions; "
            f"allowed: {', '.join(allowed) or 'none of its metrics'}"
        )
