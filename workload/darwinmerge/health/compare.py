"""Layer by layer: where the child stands out of its parents' range, and which tensors make it so.

A layer's importance is the size-weighted mean score of its tensors. Far above both parents is interference,
far below both is function loss, a value that is no number is a failure.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from darwinmerge.canonical import rounded
from darwinmerge.experiment.manifest import Health, Score
from darwinmerge.experiment.types import Frozen
from darwinmerge.mri.figures import Figures
from darwinmerge.mri.table import TensorRow

Flag = Literal["", "Interference", "FunctionLoss", "Fail"]


class LayerHealth(Frozen):
    """One layer of the child beside its parents'."""

    layer: str
    child: float  # importance: size-weighted mean score
    father: float
    mother: float
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
        """Fail where a layer has values that are no numbers; Flagged where one is out of its parents' range."""
        flags = {layer.flag for layer in self.layers}
        return "Fail" if "Fail" in flags else "Flagged" if flags - {""} else "Pass"


def compare(rows: Sequence[TensorRow], child: Mapping[str, Figures], score: Score, settings: Health) -> HealthTable:
    """The health of a child, given its tensors' figures and the MRI table of its parents."""
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
    table = [_layer(layer, [row for row in weights if row.layer == layer], child, score, settings) for layer in layers]
    return HealthTable(layers=tuple(table), tensors=tuple(sorted(tensors, key=lambda t: (t.delta, t.name))))


def _layer(
    layer: str, rows: Sequence[TensorRow], child: Mapping[str, Figures], score: Score, settings: Health
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
    return LayerHealth(layer=layer, child=of_child, father=of_father, mother=of_mother, flag=flag)


def _natural(layer: str) -> tuple[str, int]:
    place, _, number = layer.rpartition(".")
    return place, int(number) if number.isdigit() else -1
