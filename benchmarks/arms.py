"""The arms of the ablation, and what their outcomes say together: pure, with no model and no store.

Every arm is a manifest's settings; only random search isn't one: it is `Elites` with genomes that nothing has chosen.
Arms share their seeds, and with a seed the rows, the masks and the references, so that they are compared seed by seed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from report import table

from darwinmerge.experiment.searching import Bounds
from darwinmerge.pipeline.results import SearchSummary
from darwinmerge.search.genome import Box

SEEDS = (1, 2, 3, 4, 5)
T_QUANTILE = 2.776  # 0.975 quantile of Student's t with 4 degrees of freedom: of five seeds
GENERATIONS, CANDIDATES = 6, 4
BUDGET = GENERATIONS * CANDIDATES  # real children a run


@dataclass(frozen=True)
class Arm:
    """One way to make a child with the whole budget."""

    name: str
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict)  # of the manifest's spec, by section
    random: bool = False  # random genomes instead of Phase 1's elites


@dataclass(frozen=True)
class Outcome:
    """How one arm ended with one seed; scores are means of both skills."""

    arm: str
    seed: int
    search: float  # the winner on search rows
    child: float  # on verdict rows, as all that follow
    linear: float
    father: float
    mother: float
    against_linear: str  # Better, NotDifferent or Worse
    label: str  # the verdict's
    generation: int  # of the winner
    genome: tuple[float, ...]  # the winner's, in the order of GENES


def _searches(weight: float) -> tuple[Arm, ...]:
    """Each way to search, with one weight of the diagnosis."""

    def arm(name: str, algorithm: str, random: bool = False) -> Arm:
        settings: dict[str, dict[str, Any]] = {"mri": {"weight": weight}, "evolution": {"algorithm": algorithm}}
        return Arm(f"{name}, MRI {weight:g}", settings, random)

    return (
        arm("CMA-ES", "CMAES"),
        arm("Genetic", "Genetic"),
        arm("elites", "Elites"),
        arm("random", "Elites", random=True),
    )


ARMS = (
    *_searches(0.7),
    *_searches(0.0),
    Arm("CMA-ES, MRI 1", {"mri": {"weight": 1.0}}),
    Arm("CMA-ES, MRI 0.7, rescaled", {"merge": {"rescale": "Inverse"}}),
)
CONTRASTS = (  # one arm against another
    ("CMA-ES, MRI 0", "CMA-ES, MRI 0.7"),
    ("CMA-ES, MRI 1", "CMA-ES, MRI 0.7"),
    ("elites, MRI 0.7", "random, MRI 0.7"),
    ("elites, MRI 0", "random, MRI 0"),
    ("CMA-ES, MRI 0.7", "random, MRI 0.7"),
    ("CMA-ES, MRI 0", "random, MRI 0"),
    ("Genetic, MRI 0.7", "random, MRI 0.7"),
    ("Genetic, MRI 0", "random, MRI 0"),
    ("CMA-ES, MRI 0.7", "Genetic, MRI 0.7"),
    ("CMA-ES, MRI 0", "Genetic, MRI 0"),
    ("CMA-ES, MRI 0.7, rescaled", "CMA-ES, MRI 0.7"),
)


def dealt(search: SearchSummary, bounds: Bounds, seed: int) -> SearchSummary:
    """Phase 1's outcome with random genomes for elites: uniform within the bounds, genes without effect left fixed."""
    box = Box(search.active, bounds)
    points = np.random.Generator(np.random.PCG64(seed)).random((BUDGET, len(box.active)))
    return search.model_copy(update={"elites": tuple(box.genome(point.tolist()).values() for point in points)})


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over the seeds, and its 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    half = T_QUANTILE * statistics.stdev(values) / math.sqrt(len(SEEDS))
    return mean, mean - half, mean + half


def tables(outcomes: Sequence[Outcome]) -> str:
    """Every arm beside the plain average, and the arms against each other, in Markdown."""
    ordered = sorted(outcomes, key=lambda o: o.seed)
    by_arm = {arm.name: [o for o in ordered if o.arm == arm.name] for arm in ARMS}
    rows = [_arm_row(name, those) for name, those in by_arm.items()]
    some = next(iter(by_arm.values()))
    for name in ("linear", "mother", "father"):
        scores = [getattr(o, name) for o in some]
        shown = "plain average" if name == "linear" else name.capitalize()
        rows.append((shown, "", f"{statistics.fmean(scores):.3f}", "", "", ""))
    head = ("arm", "search rows", "verdict rows", "minus plain average", "better, same, worse", "beats both parents")
    pairs = []
    for one, other in CONTRASTS:
        differences = [a.child - b.child for a, b in zip(by_arm[one], by_arm[other], strict=True)]
        higher, lower = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        pairs.append((f"{one} − {other}", _signed(differences), f"{higher} : {lower}"))
    return f"{table(head, rows)}\n\n{table(('difference on verdict rows', 'mean', 'seeds for : against'), pairs)}"


def _arm_row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    mean, low, high = interval([o.child for o in outcomes])
    beside = [sum(o.against_linear == word for o in outcomes) for word in ("Better", "NotDifferent", "Worse")]
    return (
        name,
        f"{statistics.fmean(o.search for o in outcomes):.3f}",
        f"{mean:.3f} ({low:.3f} to {high:.3f})",
        _signed([o.child - o.linear for o in outcomes]),
        ", ".join(map(str, beside)),
        f"{sum(o.label == 'ChildBeatsBoth' for o in outcomes)} of {len(outcomes)}",
    )


def _signed(differences: Sequence[float]) -> str:
    mean, low, high = interval(differences)
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
