"""The child's model card, README.md, in the hub's conventions: what it is, and what is known about how good it is.

It is a function of the child, its verdict and what the parents' folders tell of themselves, so that making it again
gives the same text. What others wrote (names, licences, splits) goes into the head as YAML's writer quotes it, and into
the text as code, so that it can't be taken for anything but itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from darwinmerge.canonical import rounded
from darwinmerge.evaluation.answers import Answers, TaskAnswers
from darwinmerge.evaluation.rows import Row, RowSets, TaskRows
from darwinmerge.evaluation.statistics import Values, bootstrap_interval, weighted_mean
from darwinmerge.experiment.manifest import BenchmarkTask
from darwinmerge.pipeline.tasks import Comparison, PublishInputs
from darwinmerge.publish.lineage import Ancestor, Licence
from darwinmerge.publish.record import Record
from darwinmerge.report.lines import sentence, ties
from darwinmerge.uri import MODEL

HARNESS = "https://github.com/EleutherAI/lm-evaluation-harness"
MODELS = {"father": "Father", "mother": "Mother", "linear": "plain average", "child": "child"}
OPENINGS = {"ChildBeatsBoth": "This child beats both its parents", "Worse": "This child is no improvement"}
OPENING = "This child has not been shown to beat both its parents"


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


def card(found: Findings) -> str:
    """The text of README.md."""
    verdict = found.inputs.verdict
    opening = OPENINGS.get(verdict.label, OPENING)
    python, shell = _named(found.inputs.hub)
    return f"""---
{yaml.safe_dump(_head(found), sort_keys=False, allow_unicode=True)}---
# {found.inputs.title}

> **{opening}.** On {verdict.n} questions that the search never saw, {sentence(verdict)}.

A merge of two fine-tunes of one base, found by diagnostic-guided evolution (Darwin V5's method).

## How good it is

{_scores(found)}

In brackets: 95 % intervals (bootstrap over questions). The difference of two models on the same questions says more:

{_comparisons(found)}

Two-sided sign-flip test at level {verdict.alpha:g}, intervals of {100 * (1 - verdict.alpha):.4g} %; look \
{verdict.looks} at these questions.

## What was asked

{_questions(found)}

{_search(found)} Rows that ask the same, or belong together, are on one side. {_terms(found)}

## What it is made of

{_parents(found)}

{_making(found)}

## Proof

The same parents and `darwin.json` give the same weights, bit for bit, on any machine. This hashes child and parents, \
diagnoses the parents again, merges again, and compares:

```sh
darwin verify CHILD --father FATHER --mother MOTHER{" --base BASE" if found.base else ""}    # folders, s3:// or hf://
```

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({python}, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained({python})
```

```sh
vllm serve {shell}
```

## Licence

{_licence(found)}
"""


def _named(hub: str) -> tuple[str, str]:
    """How Python and a shell name the child: by its place on a hub, `hf://org/name@revision`, if it has one."""
    repo, _, revision = hub.removeprefix("hf://").partition("@")
    if revision in ("", "main"):
        return f'"{repo or "CHILD"}"', repo or "CHILD"
    return f'"{repo}", revision="{revision}"', f"{repo} --revision {revision}"


def _head(found: Findings) -> dict[str, Any]:
    father, mother = found.parents
    languages = [language for language in father.languages if language in mother.languages]
    return {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "darwin"],
        **_base_head((father, mother), found.base),
        **_licence_head(_shared(father.licence, mother.licence)),
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
            "split": "+".join(_splits(rows.verdict)),
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


def _scores(found: Findings) -> str:
    lines = [["task", "rows", *MODELS.values()]]
    for number, (_, rows, answers) in enumerate(found.tasks()):
        values = (np.array(found.answers[model].tasks[number].values) for model in MODELS)
        cells = [_cell([asked], [1.0]) for asked in values]
        lines.append([_code(rows.task), str(len(answers.values)), *cells])
    means = (_cell(found.answers[model].oriented(), found.answers[model].weights) for model in MODELS)
    lines.append(["weighted mean", str(found.inputs.verdict.n), *means])
    return _table(lines)


def _cell(values: Sequence[Values], weights: Sequence[float]) -> str:
    low, high = bootstrap_interval(values, weights, 0.05, 0)
    return f"{weighted_mean(values, weights):.3f} ({low:.3f} to {high:.3f})"


def _mean(answers: TaskAnswers) -> float:
    return rounded(float(np.mean(answers.values)))


def _comparisons(found: Findings) -> str:
    verdict = found.inputs.verdict
    versus = (verdict.vs_father, verdict.vs_mother, verdict.vs_linear)
    lines = [["child against", "difference", "interval", "p", ""]]
    return _table(lines + [_comparison(name, c) for name, c in zip(MODELS.values(), versus, strict=False)])


def _comparison(name: str, c: Comparison) -> list[str]:
    return [name, f"{c.difference:+.3f}", f"{c.low:+.3f} to {c.high:+.3f}", f"{c.p:.2g}", c.result]


def _search(found: Findings) -> str:
    tried, finalists = found.inputs.candidates, found.inputs.finalists
    again = together = ""
    if finalists:
        again, together = f"the best {finalists} of them were asked the fresh rows too, and ", " on both sets together"
    best = f"this one has the best score{together}{ties(found.inputs.tied, finalists)}"
    return f"The search tried {tried} children, on its own rows only; {again}{best}."


def _questions(found: Findings) -> str:
    lines = [["task", "metric", "weight", "examples", "the search saw", "the finalists too", "the verdict"]]
    for wanted, rows, answers in found.tasks():
        fresh = rows.fresh if found.inputs.finalists else ()
        sets = (_asked(chosen) for chosen in (rows.search, fresh, rows.verdict))
        told = [_code(answers.metric), f"{answers.weight:g}", str(wanted.num_fewshot)]
        lines.append([_code(rows.task), *told, *sets])
    return _table(lines)


def _asked(rows: Sequence[Row]) -> str:
    return f"{len(rows)} of {', '.join(map(_code, _splits(rows)))}" if rows else "none"


def _splits(rows: Sequence[Row]) -> list[str]:
    return sorted({row.split for row in rows})


def _terms(found: Findings) -> str:
    env, terms = found.answers["child"].env, found.inputs.terms
    template = "with" if terms.chat_template else "without"
    return (
        f"Measured with lm-eval {env['lm_eval']} ({terms.model}), transformers {env['transformers']} and torch "
        f"{env['torch']} on {env['device']} ({env['hardware']}), dtype {terms.dtype}, batch size {terms.batch_size}, "
        f"{template} a chat template."
    )


def _parents(found: Findings) -> str:
    lines = [["", "model", "pin (SHA-256 of its files)", "licence", "says it is made from"]]
    pins = (found.record.pins.father, found.record.pins.mother)
    named = [*zip(MODELS.values(), found.parents, pins, strict=False)]
    if found.base:
        named.append(("base", found.base, found.record.pins.base))
    for who, parent, pin in named:
        lines.append([who, _code(parent.name), _code(pin), _code(parent.licence.id), _code(parent.base)])
    return "\n\n".join([_table(lines), *_unlinked(found.parents)])


def _unlinked(parents: Sequence[Ancestor]) -> Iterator[str]:
    """What `base_model` has in place of a parent."""
    for who, parent in zip(MODELS.values(), parents, strict=False):
        instead = f"names {_code(parent.base)} in its place" if parent.base else "doesn't name it"
        if not parent.hub:
            yield f"{who}'s id on the model hub, if it has one, is not known here: `base_model` of this card {instead}."


def _making(found: Findings) -> str:
    record, health = found.record, found.inputs.health
    genes = ", ".join(f"{name} {value:g}" for name, value in record.genome.model_dump().items())
    accounts = ", ".join(f"{count} {name}" for name, count in record.accounts.items())
    flagged = f" ({', '.join(map(_code, health.flagged))})" if health.flagged else ""
    recipe, method = record.recipe, record.mixing.merge.method
    said = "".join(f", {name} {value}" for name, value in recipe.parameters.items())
    of_father = f", of Father's task vector {recipe.density_a:g}" if recipe.base else ""
    return f"""- Genome: {genes}; {method}{" with a base" * bool(recipe.base)}{said}, MRI weight \
{record.mixing.mri_weight:g}, mask seed {recipe.seed}, density {recipe.density:g}{of_father}.
- Tensors: {accounts}; config and tokenizer are Father's.
- Health check, layer by layer beside both parents: {health.status}{flagged}.
- Recipe {_code(record.recipe_id)}, made by Darwin {record.version}."""


def _licence(found: Findings) -> str:
    father, mother = (parent.licence for parent in found.parents)
    both = _shared(father, mother)
    if both:
        return f"Both parents are under {_code(both.name or both.id)}, and so is this child."
    each = ", ".join(f"{who}'s {_code(one.name or one.id)}" for who, one in (("Father", father), ("Mother", mother)))
    return (
        f"The parents' licences are not known to be one: {each}. What that means for their child is not decided here."
    )


def _shared(one: Licence, other: Licence) -> Licence | None:
    """The licence of both, if it is known to be one."""
    known = one.id not in ("", "unknown") and (one.id != "other" or one.name)
    return one if known and one == other else None


def _code(text: str) -> str:
    """Text of others, as code: nothing in it is markup, nor ends its cell or its line."""
    plain = re.sub(r"[`|\s]+", " ", text).strip()[:100]
    return f"`{plain}`" if plain else "-"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])
