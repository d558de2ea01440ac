"""What a layer does, beside what its tensors look like.

Father reads a few probes. Each of his layers gets its input from him, and so do the child's and Mother's layers in its
place: damage stays where it is, and doesn't reach the layers after it. How far the child's output lies from the
nearer parent's is held against how far the parents' lie from each other, since no merge leaves that range by much.
Then child and Mother read the probes as a whole, and what the three say next is compared.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput, machine_fault
from darwinmerge.evaluation.harness import quiet
from darwinmerge.evaluation.resident import tokenizer_of
from darwinmerge.health.compare import MOST, Activations, Agreement, Likeness, Shift
from darwinmerge.health.probes import tokens
from darwinmerge.health.stations import Station, Stations

DIGITS = 4  # significant ones of a figure: the rest is the CPU's
# What a model's code raises that isn't for us to run; a file that can't be read and a fault of the machine are another
# matter, and tried again.
TROUBLE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, StopIteration, ImportError)


class Prepared:
    """Father's architecture and the probes, or why there are none."""

    def __init__(self, child: ModelFolder, father: ModelFolder, mother: ModelFolder) -> None:
        """Build what is run; whatever stands in its way is told by `observe`, and fails nothing."""
        self.steps, self._unseen, self._family = 0, "", (child, father, mother)
        try:
            quiet()
            self._ids = tokens(tokenizer_of(father))
            self._stations = Stations(father)
            for folder in (child, mother):
                _require_whole(folder, self._stations)
        except (BadInput, OSError, *TROUBLE) as error:
            if machine_fault(error):
                raise
            self._unseen = self._line(error)
        else:
            self.steps = 3 * len(self._stations.all)

    def observe(self, tell: Callable[[int], None]) -> Activations:
        """Run it; `tell` hears how many of `steps` are done."""
        if self._unseen:
            return Activations(unseen=self._unseen)
        try:
            with torch.inference_mode(), _one_thread():
                return _Run(self._stations, tell).compare(self._ids, *self._family)
        except TROUBLE as error:
            if machine_fault(error):
                raise
            return Activations(unseen=self._line(error))

    def _line(self, error: Exception) -> str:
        """An error in a line, the same wherever the models lie."""
        child, father, mother = self._family
        text = f"{error}" or type(error).__name__
        for place, who in ((father.path, "Father"), (father, "Father"), (mother, "Mother"), (child, "the child")):
            text = text.replace(f"{place}", who)
        return " ".join(text.split())


class _Run:
    """One comparison, as far as it is."""

    def __init__(self, stations: Stations, tell: Callable[[int], None]) -> None:
        self.stations, self.tell, self.done = stations, tell, 0
        self.shifts: dict[str, list[Shift]] = {}

    def compare(
        self, ids: list[list[int]], child: ModelFolder, father: ModelFolder, mother: ModelFolder
    ) -> Activations:
        def on_fathers_input(station: Station, *args: Any, **kwargs: Any) -> Any:
            his = station.run(father, *args, **kwargs)
            if station.block:
                outputs = [_first(his), *(_first(station.run(other, *args, **kwargs)) for other in (mother, child))]
                given = _given(outputs[0], *args, *kwargs.values())
                self.shifts.setdefault(station.layer, []).append(_shift(given, *outputs))
            return self.step(his)

        def alone(folder: ModelFolder) -> Tensor:
            return self.stations.run(ids, lambda station, *a, **k: self.step(station.run(folder, *a, **k)))

        of_father = self.stations.run(ids, on_fathers_input).log_softmax(-1)
        of_mother, of_child = (alone(folder).log_softmax(-1) for folder in (mother, child))
        agreement = Agreement(
            father=_likeness(of_father, of_child),
            mother=_likeness(of_mother, of_child),
            parents=_likeness(of_father, of_mother),
            tokens=of_father.shape[0] * of_father.shape[1],
        )
        shifts = {layer: max(found, key=lambda shift: shift.times) for layer, found in self.shifts.items()}
        return Activations(shifts=shifts, agreement=agreement)

    def step(self, output: Any) -> Any:
        self.done += 1
        self.tell(self.done)
        return output


def _given(output: Tensor, *arguments: Any) -> Tensor:
    """What a block was given to add to: the first of its arguments that has its output's shape."""
    return next(x for x in arguments if torch.is_tensor(x) and x.shape == output.shape)


def _shift(given: Tensor, father: Tensor, mother: Tensor, child: Tensor) -> Shift:
    """Distances of outputs, mean over tokens: each token's own relative to what Father's layer does to it."""
    does = (father - given).norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)

    def apart(one: Tensor, other: Tensor) -> float:
        return _recorded(float(((one - other).norm(dim=-1) / does).mean()))

    return Shift(child=min(apart(child, father), apart(child, mother)), parents=apart(mother, father))


def _likeness(of: Tensor, other: Tensor) -> Likeness:
    """How like two models' next tokens are; of log-probabilities (probe, token, vocabulary)."""
    same = float((of.argmax(-1) == other.argmax(-1)).double().mean())
    kl = float((of.exp() * (of - other)).sum(-1).mean())
    return Likeness(same=_recorded(same), kl=_recorded(max(kl, 0.0) if math.isfinite(kl) else kl))


def _recorded(x: float) -> float:
    return float(f"{x:.{DIGITS - 1}e}") if x < MOST else MOST  # what isn't a number is no less than anything


def _first(output: Any) -> Tensor:
    found: Tensor = output if torch.is_tensor(output) else output[0]
    return found


def _require_whole(folder: ModelFolder, stations: Stations) -> None:
    for name in (name for station in stations.all for name in station.names.values()):
        if name not in folder.tensors:
            raise ValueError(f"{folder} has no tensor {name}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever else this process or machine does: the same child has the same figures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
