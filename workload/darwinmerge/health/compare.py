"""Layer by layer: where the child stands out of its parents' range, and which tensors make it so.

A layer's importance is the size-weighted mean score of its tensors. Far above both parents is interference,
far below both is function loss, a value that is not a number is a failure. The published score is mostly entropy,
which sees neither scale nor place; so a layer is also held against where it should lie: a merge moves Father
towards Mother, and a layer that lies several times further from Father than she does was not merged but broken.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from darwinmerge.canonical import rounded
from darwinmerge.experiment.manifest import Health, Score
from darwinmerge.experiment.types import Frozen
from darwinmerge.mri.figures import Figures
from darwinmerge.mri.table import TensorRow

MOST = 1e9  # what an endless displacement is written as
Flag = Literal["", "Interference", "FunctionLoss", "Displaced", "Fail"]


class LayerHealth(Frozen):
    """One layer of the child beside its parents'."""

    layer: str
    child: float  # importance: size-weighted mean score
    father: float
    mother: float
    moved: float | None  # distance from Father, Mother's being 1; None: they are the same, and so is the child
    flag: Flag


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
) -> HealthTable:
    """The health of a child, given its tensors' figures and distances, and the MRI table of its parents."""
    weights = [row for row in rows if row.presence != "not-a-weight" and row.name in child]
    layers = sorted({row.layer for row in weights}, key=_natural)
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
        table.append(_layer(layer, of_layer, child, moved, score, settings))
    return HealthTable(layers=tuple(table), tensors=tuple(sorted(tensors, key=lambda t: (t.delta, t.name))))


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
    return LayerHealth(layer=layer, child=of_child, father=of_father, mother=of_mother, moved=moved, flag=flag)


def _natural(layer: str) -> tuple[str, int]:
    place, _, number = layer.rpartition(".")
    return place, int(number) if number.isdigit() else -1
