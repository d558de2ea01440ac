"""The verdict: the child beside each parent and the plain average, on rows that the search never saw."""

from collections.abc import Mapping, Sequence

from darwinmerge.evaluation.statistics import Values, bootstrap_interval, sign_flip_p, weighted_mean
from darwinmerge.pipeline.results import Against, Comparison, Label


def compare(
    child: Sequence[Values], other: Sequence[Values], weights: Sequence[float], alpha: float, seed: int
) -> Comparison:
    """The child against one model: metrics a task, question by question, oriented so that higher is better."""
    differences = [a - b for a, b in zip(child, other, strict=True)]
    difference = weighted_mean(differences, weights)
    p = sign_flip_p(differences, weights, seed)
    low, high = bootstrap_interval(differences, weights, alpha, seed)
    result: Against = "NotDifferent"
    if p <= alpha:
        result = "Better" if difference > 0 else "Worse"
    return Comparison(difference=difference, low=low, high=high, p=p, result=result)


def label(versus: Mapping[str, Comparison]) -> Label:
    """The verdict's label, from the comparisons with `father` and `mother`."""
    father, mother = versus["father"].result, versus["mother"].result
    if "Worse" in (father, mother):
        return "Worse"
    if father == mother == "Better":
        return "ChildBeatsBoth"
    if father == "Better":
        return "BeatsFather"
    return "BeatsMother" if mother == "Better" else "NoSignificantDifference"
