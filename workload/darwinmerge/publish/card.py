"""The child's model card, README.md, in the hub's conventions: what it is, and what is known about how good it is."""

import yaml

from darwinmerge.pipeline.tasks import Comparison, HealthSummary, VerdictSummary
from darwinmerge.publish.record import Record
from darwinmerge.report.lines import sentence


def card(title: str, record: Record, verdict: VerdictSummary, health: HealthSummary) -> str:
    """The text of README.md; the same for the same child and verdict."""
    head = yaml.safe_dump({"library_name": "transformers", "tags": ["merge", "darwin"]}, sort_keys=False)
    genes = ", ".join(f"{name} {value:g}" for name, value in record.genome.model_dump().items())
    accounts = ", ".join(f"{count} {name}" for name, count in record.accounts.items())
    flagged = f" ({', '.join(health.flagged)})" if health.flagged else ""
    return f"""---
{head}---
# {title}

A merge of two fine-tunes of one base, found by diagnostic-guided evolution (Darwin V5's method).

**On questions that the search never saw, {sentence(verdict)}.** \
{verdict.n} questions, two-sided sign-flip test at level {verdict.alpha:g}, \
look {verdict.looks} at these questions.

| child against | difference | interval | p | |
|---|---|---|---|---|
{_line("father", verdict.vs_father)}
{_line("mother", verdict.vs_mother)}
{_line("plain average of both", verdict.vs_linear)}

- Genome: {genes}; mask seed {record.recipe.seed}, density {record.recipe.density:g}.
- Tensors: {accounts}.
- Health check: {health.status}{flagged}.
- `darwin.json` records parents (SHA-256) and recipe: from them the same weights can be computed, bit for bit.
"""


def _line(name: str, c: Comparison) -> str:
    return f"| {name} | {c.difference:+.3f} | {c.low:+.3f} to {c.high:+.3f} | {c.p:.2g} | {c.result} |"
