"""Layer by layer: where the child stands out of its parents' range, and which tensors make it so.

A layer's importance is the size-weighted mean score of its tensors. Far above both parents is interference,
far below both is function loss, a value that is not a number is a failure. The published score is mostly entropy,
which sees neither scale nor place; so a layer is also held against where it should lie: a merge moves Father
towards Mother, and a layer that lies several times further from Father than she does was not merged but broken.
Weights can be where they should and do the wrong thing, as rows do that changed places within a layer whose parents lie
far apart. So what a layer puts out is held against what its parents' put out, wherever the model can be run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from darwinmerge.canonical import rounded
from darwinmerge.experiment.kinds import order_of
from darwinmerge.experiment.manifest import Health, Score
from darwinmerge.experiment.types import Frozen
from darwinmerge.mri.figures import Figures
from darwinmerge.mri.table import TensorRow

MOST = 1e9  # what an endless displacement is written as
FAINT = 0.01  # of what a layer does: output that differs by less than this is the same but for rounding
Flag = Literal["", "Interference", "FunctionLoss", "Displaced", "Diverged", "Fail"]


class Shift(Frozen):
    """How far apart a layer's outputs lie on Father's input to it: mean over tokens, 1 being what his layer does."""

    child: float  # from the nearer parent's
    parents: float  # from each other

    @property
    def times(self) -> float:
        """The child's distance, the parents' from each other being 1."""
        return self.child / max(self.parents, FAINT)


class Likeness(Frozen):
    """How like two whole models are on the probes."""

    same: float  # share of tokens after which both say the same next
    kl: float  # mean divergence of the second's next token from the first's, in nats


class Agreement(Frozen):
    """What child and parents say next on the probes: told, not judged, since an ordinary merge may say anything."""

    father: Likeness  # Father and child
    mother: Likeness  # Mother and child
    parents: Likeness  # Father and Mother
    tokens: int


class Activations(Frozen):
    """What became of the probes."""

    shifts: Mapping[str, Shift] = Field(default_factory=dict)  # by layer
    agreement: Agreement | None = None
    unseen: str = ""  # why there are none


class LayerHealth(Frozen):
    """One layer of the child beside its parents'."""

    layer: str
    child: float  # importance: size-weighted mean score
    father: float
    mother: float
    moved: float | None  # distance from Father, Mother's being 1; None: they are the same, and so is the child
    flag: Flag
    shift: Shift | None = None  # None: it is no block of the text model, or none was run


class TensorHealth(Frozen):
    """One tensor's quality delta."""

    name: str
    layer: str
    delta: float  # score(child) - max(score(father), score(mother))
    non_finite: int


class HealthTable(Frozen):
    """The child's health, layer by layer and tensor by tensor."""

    layers: tuple[LayerHealth, ...]
    tensors: tuple[TensorHealth, ...]  # worst delta first
    agreement: Agreement | None = None
    unseen: str = ""  # why activations were not looked at

    @property
    def status(self) -> Literal["Pass", "Flagged", "Fail"]:
        """Fail where a layer has values that are not numbers; Flagged where one is out of its parents' range."""
        flags = {layer.flag for layer in self.layers}
        return "Fail" if "Fail" in flags else "Flagged" if flags - {""} else "Pass"


class Distances(Frozen):
    """Squared distances of one tensor."""

    child: float  # of the child from Father
    mother: float  # of Mother from Father


def compare(
    rows: Sequence[TensorRow],
    child: Mapping[str, Figures],
    distances: Mapping[str, Distances],
    score: Score,
    settings: Health,
    activations: Activations,
) -> HealthTable:
    """The health of a child, given its tensors' figures and distances, its activations, and its parents' MRI table."""
    weights = [row for row in rows if row.presence != "not-a-weight" and row.name in child]
    layers = sorted({row.layer for row in weights}, key=order_of)
    tensors = [
        TensorHealth(
            name=row.name,
            layer=row.layer,
            delta=rounded(child[row.name].score(score) - max(row.father.score(score), row.mother.score(score))),
            non_finite=child[row.name].non_finite,
        )
        for row in weights
    ]
    table = []
    for layer in layers:
        of_layer = [row for row in weights if row.layer == layer]
        moved = _moved([distances[row.name] for row in of_layer if row.name in distances])
        shift = activations.shifts.get(layer)
        table.append(_layer(layer, of_layer, child, moved, shift, score, settings))
    return HealthTable(
        layers=tuple(table),
        tensors=tuple(sorted(tensors, key=lambda t: (t.delta, t.name))),
        agreement=activations.agreement,
        unseen=activations.unseen,
    )


def _moved(distances: Sequence[Distances]) -> float | None:
    """How far a layer lies from Father, Mother's distance being 1."""
    child, mother = math.fsum(d.child for d in distances), math.fsum(d.mother for d in distances)
    if mother == 0:
        return None if child == 0 else MOST
    return min(MOST, rounded(math.sqrt(child / mother)))


def _layer(
    layer: str,
    rows: Sequence[TensorRow],
    child: Mapping[str, Figures],
    moved: float | None,
    shift: Shift | None,
    score: Score,
    settings: Health,
) -> LayerHealth:
    def importance(figures: Sequence[Figures]) -> float:
        sizes = [max(row.size, 1) for row in rows]
        return rounded(float(np.average([f.score(score) for f in figures], weights=sizes)))

    of_child = importance([child[row.name] for row in rows])
    of_father = importance([row.father for row in rows])
    of_mother = importance([row.mother for row in rows])
    flag: Flag = ""
    if any(child[row.name].non_finite for row in rows):
        flag = "Fail"
    elif of_child > settings.interference * max(of_father, of_mother):
        flag = "Interference"
    elif of_child < settings.function_loss * min(of_father, of_mother):
        flag = "FunctionLoss"
    elif moved is not None and moved > settings.displacement:
        flag = "Displaced"
    elif shift is not None and shift.times > settings.divergence:
        flag = "Diverged"
    return LayerHealth(
        layer=layer, child=of_child, father=of_father, mother=of_mother, moved=moved, flag=flag, shift=shift
    )


def agreement_of(health: HealthTable) -> str:
    """What child and parents say next on the probes, or why nobody knows, in a line."""
    found = health.agreement
    if not found:
        return f"Activations were not looked at: {health.unseen or 'the version that made this check had no probes'}."

    def told(who: str, likeness: Likeness) -> str:
        kl = f"{likeness.kl:.3g}" if likeness.kl < MOST else "endless"
        return f"{who} in {likeness.same:.0%} (divergence {kl})"

    pairs = told("Father and child", found.father), told("Mother and child", found.mother)
    beside = told("Father and Mother", found.parents)
    return f"After {found.tokens} tokens of probes the same is said next by {', '.join(pairs)}, beside {beside}."
