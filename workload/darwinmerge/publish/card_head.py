"""The head of a model card: what a model hub reads of it, in YAML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darwinmerge.canonical import rounded
from darwinmerge.evaluation.answers import Answers, TaskAnswers
from darwinmerge.evaluation.rows import Row, RowSets, TaskRows
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.pipeline.tasks import PublishInputs
from darwinmerge.publish.lineage import Ancestor, Licence
from darwinmerge.publish.record import Record
from darwinmerge.uri import MODEL

HARNESS = "https://github.com/EleutherAI/lm-evaluation-harness"


@dataclass(frozen=True)
class Findings:
    """All that a card tells."""

    inputs: PublishInputs
    record: Record
    parents: tuple[Ancestor, Ancestor]
    rows: RowSets
    answers: Mapping[str, Answers]  # on verdict rows, by model
    datasets: Mapping[str, tuple[str, str]]  # by task: path and name of its data set, as lm-eval loads it
    base: Ancestor | None = None  # what the merge moved from, if the manifest names it

    def tasks(self) -> list[tuple[BenchmarkTask, TaskRows, TaskAnswers]]:
        """What each task was asked, and what the child answered."""
        wanted = {task.name: task for task in self.inputs.terms.tasks}
        pairs = zip(self.rows.tasks, self.answers["child"].tasks, strict=True)
        return [(wanted[rows.group or rows.task], rows, answers) for rows, answers in pairs]


def head_of(found: Findings) -> dict[str, Any]:
    """The head: licence, languages, parents, results."""
    father, mother = found.parents
    languages = [language for language in father.languages if language in mother.languages]
    return {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "darwin"],
        **_base_head((father, mother), found.base),
        **_licence_head(shared_licence(father.licence, mother.licence)),
        **({"language": languages} if languages else {}),
        "model-index": [{"name": found.inputs.title, "results": [_result(found, *task) for task in found.tasks()]}],
    }


def _base_head(parents: Sequence[Ancestor], base: Ancestor | None) -> dict[str, Any]:
    """What the hub links the child to: parents, or what they are made from where it doesn't know them; the base."""
    linked = [parent.hub or parent.base for parent in parents] + ([base.hub] if base else [])
    known = list(dict.fromkeys(filter(None, linked)))
    relation = {"base_model_relation": "merge"} if all(parent.hub for parent in parents) else {}
    return {"base_model": known, **relation} if known else {}


def _licence_head(licence: Licence | None) -> dict[str, str]:
    if licence is None:
        return {"license": "other", "license_name": "see-its-parents"}
    told = {"license": licence.id, "license_name": licence.name, "license_link": licence.link}
    return {key: text for key, text in told.items() if text}


def _result(found: Findings, wanted: BenchmarkTask, rows: TaskRows, answers: TaskAnswers) -> dict[str, Any]:
    name = answers.metric.partition(",")[0]
    metric = {"type": name, "name": answers.metric, "value": _mean(answers), "verified": False}
    asked = {"rows": len(answers.values), "num_fewshot": wanted.num_fewshot}
    version = found.answers["child"].env["lm_eval"]
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {
            "name": rows.task,
            **_dataset(*found.datasets.get(rows.task, ("", ""))),
            "split": "+".join(splits_of(rows.verdict)),
            "args": asked,
        },
        "metrics": [metric],
        "source": {"name": f"lm-evaluation-harness {version}", "url": HARNESS},
    }


def _dataset(path: str, name: str) -> dict[str, str]:
    """A data set by its id on the hub, or the required type in a word that is no id: a task's name may be another's."""
    if not re.fullmatch(MODEL, path):
        return {"type": "custom"}
    return {"type": path, **({"config": name} if name else {})}


def _mean(answers: TaskAnswers) -> float:
    return rounded(float(np.mean(answers.values)))


def shared_licence(one: Licence, other: Licence) -> Licence | None:
    """The licence of both, if it is known to be one."""
    known = one.id not in ("", "unknown") and (one.id != "other" or one.name)
    return one if known and one == other else None


def splits_of(rows: Sequence[Row]) -> list[str]:
    """The splits that rows come from, by name."""
    return sorted({row.split for row in rows})
