"""The ablation compares arms seed by seed, and its random search chooses nothing."""

from dataclasses import replace

import pytest
from arms import ARMS, BUDGET, CONTRASTS, SEEDS, Outcome, dealt, interval, tables

from darwinmerge.experiment.searching import Bounds, Range
from darwinmerge.pipeline.results import SearchSummary
from darwinmerge.search.genome import GENES

FOUND = SearchSummary(history="", fitness=0.9, restarts=0, active=("attn", "density_b"), elites=((0.5,) * 6,))
BOUNDS = Bounds(attn=Range(min=0.2, max=0.4))


def outcome(arm: str, seed: int, child: float) -> Outcome:
    return Outcome(arm, seed, 0.9, child, 0.8, 0.5, 0.7, "Better", "ChildBeatsBoth", 2, (0.5,) * 6)


def worth(**more: float) -> list[Outcome]:
    """Outcomes to which each seed adds something of its own, and every arm of a search that is named so much more."""
    return [outcome(a.name, s, 0.8 + s / 100 + more.get(a.name.partition(",")[0], 0)) for a in ARMS for s in SEEDS]


def cells(outcomes: list[Outcome], name: str) -> list[str]:
    """The row of `name` in the tables."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables(outcomes).splitlines()]
    return next(row[1:] for row in rows if row and row[0] == name)


def test_random_genomes_fill_the_budget_within_the_bounds_of_the_genes_that_have_an_effect() -> None:
    genomes = [dict(zip(GENES, genes, strict=True)) for genes in dealt(FOUND, BOUNDS, 1).elites]
    assert len(genomes) == len({genome["attn"] for genome in genomes}) == BUDGET
    assert all(0.2 <= genome["attn"] <= 0.4 and genome["density_b"] >= 0.1 for genome in genomes)
    assert {(genome["ratio"], genome["ffn"], genome["embed"], genome["density_a"]) for genome in genomes} == {
        (0.5, 0.5, 0.5, 1.0)
    }


def test_random_genomes_repeat_with_the_seed_and_owe_phase_1_nothing() -> None:
    assert dealt(FOUND, BOUNDS, 1) == dealt(FOUND.model_copy(update={"elites": ()}), BOUNDS, 1)
    assert dealt(FOUND, BOUNDS, 1) != dealt(FOUND, BOUNDS, 2)


def test_the_interval_over_five_seeds_is_students() -> None:
    """Of 1 to 5: mean 3, standard deviation sqrt(2.5), standard error sqrt(0.5)."""
    assert interval([1, 2, 3, 4, 5]) == pytest.approx((3, 3 - 2.776 * 0.5**0.5, 3 + 2.776 * 0.5**0.5))


def test_arms_are_compared_seed_by_seed() -> None:
    """What seeds add cancels, so that an arm's constant worth has an interval of no width, in any order of outcomes."""
    outcomes = worth(elites=0.01)[::-1]
    assert cells(outcomes, "elites, MRI 0 − random, MRI 0") == ["+0.010 (+0.010 to +0.010)", "5 : 0"]
    assert cells(outcomes, "CMA-ES, MRI 0 − CMA-ES, MRI 0.7") == ["+0.000 (+0.000 to +0.000)", "0 : 0"]


def test_an_arm_stands_beside_the_plain_average_of_the_same_seeds() -> None:
    outcomes = worth()
    outcomes[0] = replace(outcomes[0], against_linear="Worse", label="BeatsFather")
    assert cells(outcomes, "CMA-ES, MRI 0.7") == [
        "0.900",
        "0.830 (0.810 to 0.850)",
        "+0.030 (+0.010 to +0.050)",
        "4, 0, 1",
        "4 of 5",
    ]


def test_every_contrast_is_between_arms() -> None:
    assert {name for pair in CONTRASTS for name in pair} <= {arm.name for arm in ARMS}
