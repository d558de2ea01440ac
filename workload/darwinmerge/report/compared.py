"""What the report says of questions: those that the child wins and loses, and the scores of all models."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from darwinmerge.report.facts import NAMES, REFERENCES, Facts
from darwinmerge.report.markup import Html, details, element, html, paragraph, section, table
from darwinmerge.report.sections import lacking
from darwinmerge.report.summary import ModelScores, Pairs, TaskScore

MOST = 200  # questions that are listed


def questions(facts: Facts) -> Html:
    """Wins and losses, question by question."""
    title, pairs = "Questions won and lost", facts.summary.pairs
    if not pairs:
        return section("questions", title, lacking(facts, "a comparison", "it is made on the verdict rows, at the end"))
    text = (
        "On how many verdict questions only the child is right (won), and on how many only the other is (lost); those "
        "that both get right or wrong say nothing about which is better. p is McNemar's exact test, task by task, and "
        "not corrected for the number of lines: the verdict is made on all tasks together."
    )
    most = max(max(pair.wins + pair.losses for pair in pairs), 1)
    lines = ((_against(pair), _bar(pair, most), pair.wins, pair.losses, f"{pair.p:.2g}") for pair in pairs)
    listed = table(("task", "", "won", "lost", "p"), lines, words=2)
    differing = list(islice(_differing(facts), MOST + 1))
    more = f"The first {MOST} questions" if len(differing) > MOST else f"The {len(differing)} questions"
    hashes = details(
        f"{more} that differ, by the SHA-256 of their row",
        table(("task", "against", "question", "child", "other"), differing[:MOST], words=3),
    )
    return section("questions", title, paragraph(text), listed, hashes)


def _against(pair: Pairs) -> Html:
    return html(pair.task, element("small", f"against {NAMES[pair.against]}"))


def _bar(pair: Pairs, most: int) -> Html:
    won, lost = (f"width:{100 * count / most:.1f}%" for count in (pair.wins, pair.losses))
    return element("div", element("i", class_="won", style=won), element("i", class_="lost", style=lost), class_="bar")


def _differing(facts: Facts) -> Iterator[tuple[object, ...]]:
    """Questions that the child and another answer differently, by task."""
    child = facts.answers["child"]
    for number, task in enumerate(child.tasks):
        for name in (name for name in REFERENCES if name in facts.answers):
            other = facts.answers[name].tasks[number]
            for i in np.flatnonzero(np.array(task.values) != np.array(other.values)):
                digest = element("code", task.rows[i][:16])
                yield task.task, NAMES[name], digest, f"{task.values[i]:g}", f"{other.values[i]:g}"


def scores(facts: Facts) -> Html:
    """All scores with their intervals."""
    title, models = "Scores", sorted(facts.summary.models, key=lambda model: model.model != "child")
    if not any(model.search for model in models):
        return section("scores", title, lacking(facts, "a score", "parents and children are asked after the diagnosis"))
    text = (
        "Means of each task's metric as lm-eval writes it, with 95 % bootstrap intervals over questions. Verdict rows "
        "judge; search rows chose the child, and flatter it."
    )
    parts = [paragraph(text)]
    parts.append(_scores("verdict", [(m, m.verdict, m.verdict_score, m.verdict_interval) for m in models]))
    parts.append(_scores("search", [(m, m.search, m.search_score, m.search_interval) for m in models]))
    return section("scores", title, *parts)


Column = tuple[ModelScores, tuple[TaskScore, ...], float | None, tuple[float, float] | None]


def _scores(rows: str, columns: list[Column]) -> Html:
    known = next((scores for _, scores, *_ in columns if scores), ())
    if not known:
        return html()
    lines: list[list[object]] = []
    for i, task in enumerate(known):
        cells = [_cell(found[i].value, (found[i].low, found[i].high)) if found else "-" for _, found, *_ in columns]
        lines.append([html(task.task, element("small", f"{task.metric}; {task.n:,} rows")), *cells])
    means = [_cell(mean, interval) if mean is not None and interval else "-" for *_, mean, interval in columns]
    lines.append(["weighted mean", *means])
    return table((f"{rows} rows", *(NAMES[model.model] for model, *_ in columns)), lines)


def _cell(value: float, interval: tuple[float, float]) -> Html:
    return html(f"{value:.3f}", element("small", f"{interval[0]:.3f} to {interval[1]:.3f}"))
