"""What lm-eval's task object tells: what a score of it depends on, and what it must be to be of use here."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.benchmark import BenchmarkTask


def digest_of(task: Any) -> str:
    """Of all that makes prompts, filters and metrics of a task's documents; the data is told by its rows.

    Code is told by the whole file in which it stands: a function calls others.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        if callable(value):
            try:
                return Path(inspect.getsourcefile(value) or "").read_text()
            except (OSError, TypeError):
                return getattr(value, "__qualname__", type(value).__qualname__)
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    config, prompt = config_of(task, keep_callable=True), getattr(getattr(task, "prompt", None), "prompt_string", None)
    return digest(plain(config if prompt is None else {**config, "prompt": prompt}))


def config_of(task: Any, keep_callable: bool = False) -> dict[str, Any]:
    """A task's configuration, without where its data files and its own file lie on this machine; code as text."""
    config: dict[str, Any] = dict(task.config.to_dict(keep_callable=keep_callable))
    for place in ("dataset_kwargs", "metadata"):
        config.pop(place, None)
    return config


def choices_of(task: Any, document: Any) -> str:
    """Choices are part of a question: 'which of these' is a different one with others."""
    return "\n".join(sorted(map(str, task.doc_to_choice(document)))) if task.config.doc_to_choice is not None else ""


def require_metric(task: Any, wanted: BenchmarkTask) -> None:
    """Refuse a metric that is no mean over questions.

    Raises:
        BadConfiguration: naming those that are.
    """
    from lm_eval.api.metrics import mean

    means: dict[str, Callable[..., Any]] = task.aggregation()
    filters = [f.name for f in task._filters]
    allowed = [f"{m},{f}" for m, aggregate in sorted(means.items()) if aggregate is mean for f in filters]
    if wanted.metric not in allowed:
        raise BadConfiguration(
            f"task {wanted.name}: metric {wanted.metric} is not one of its means over questions; "
            f"allowed: {', '.join(allowed) or 'none of its metrics'}"
        )


def require_repeatable(task: Any, wanted: BenchmarkTask) -> None:
    """Refuse answers that are sampled, and arguments of generation where nothing is generated.

    Raises:
        BadConfiguration: saying what to give instead.
    """
    from lm_eval.utils import simple_parse_args_string

    if task.OUTPUT_TYPE != "generate_until":
        if wanted.gen_kwargs:
            raise BadConfiguration(f"task {wanted.name}: genKwargs, but the task generates no text; leave them out")
        return
    arguments = dict(task.config.generation_kwargs or {}) | simple_parse_args_string(wanted.gen_kwargs)
    warm = arguments.get("do_sample") is None and float(arguments.get("temperature") or 0) > 0  # lm-eval samples then
    if arguments.get("do_sample") or warm:
        raise BadConfiguration(
            f"task {wanted.name}: it samples its answers, which differ from one time to the next; "
            "give genKwargs: do_sample=false,temperature=0"
        )
