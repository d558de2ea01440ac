"""The child's model card, README.md, in the hub's conventions: what it is, and what is known about how good it is.

It is a function of the child, its verdict and what the parents' folders tell of themselves, so that making it again
gives the same text. What others wrote (names, licences, splits) goes into the head as YAML's writer quotes it, and into
the text as code, so that it can't be taken for anything but itself.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import yaml

from darwinmerge.evaluation.rows import Row
from darwinmerge.evaluation.statistics import Values, bootstrap_interval, weighted_mean
from darwinmerge.pipeline.results import Comparison
from darwinmerge.publish.card_head import Findings, head_of, shared_licence, splits_of
from darwinmerge.publish.lineage import Ancestor
from darwinmerge.report.lines import sentence, ties

MODELS = {"father": "Father", "mother": "Mother", "linear": "plain average", "child": "child"}
OPENINGS = {"ChildBeatsBoth": "This child beats both its parents", "Worse": "This child is no improvement"}
OPENING = "This child has not been shown to beat both its parents"


def card(found: Findings) -> str:
    """The text of README.md."""
    verdict = found.inputs.verdict
    opening = OPENINGS.get(verdict.label, OPENING)
    python, shell = _named(found.inputs.hub)
    return f"""---
{yaml.safe_dump(head_of(found), sort_keys=False, allow_unicode=True)}---
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
    return f"{len(rows)} of {', '.join(map(_code, splits_of(rows)))}" if rows else "none"


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
    both = shared_licence(father, mother)
    if both:
        return f"Both parents are under {_code(both.name or both.id)}, and so is this child."
    each = ", ".join(f"{who}'s {_code(one.name or one.id)}" for who, one in (("Father", father), ("Mother", mother)))
    return (
        f"The parents' licences are not known to be one: {each}. What that means for their child is not decided here."
    )


def _code(text: str) -> str:
    """Text of others, as code: nothing in it is markup, nor ends its cell or its line."""
    plain = re.sub(r"[`|\s]+", " ", text).strip()[:100]
    return f"`{plain}`" if plain else "-"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])
