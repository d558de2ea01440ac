"""The methods of merging, one file each: its formula, its parameters, its plan. `METHODS` has all of them, by name.

A further one is a file like `ties.py`, a test like those in `tests/unit/test_methods.py`, and its entry in the three
lists below. What manifest, CRD, recipe and the genes that are searched make of it follows from its `Method`.
"""

from typing import Literal

from darwinmerge.experiment.kinds import Gene
from darwinmerge.merge.methods import dare_ties, linear, slerp, task_arithmetic, ties
from darwinmerge.merge.methods.method import Method

MethodName = Literal["DareTies", "Ties", "TaskArithmetic", "Slerp", "Linear"]
METHODS: dict[str, Method] = {
    method.name: method
    for method in (dare_ties.METHOD, ties.METHOD, task_arithmetic.METHOD, slerp.METHOD, linear.METHOD)
}


class Parameters(
    dare_ties.Parameters, ties.Parameters, task_arithmetic.Parameters, slerp.Parameters, linear.Parameters
):
    """The parameters of all methods, as they stand in `spec.merge`."""


def density_genes(method: str, base: bool) -> tuple[Gene, ...]:
    """The density genes that have an effect on a tensor that is merged."""
    if not METHODS[method].densities:
        return ()
    return ("density_a", "density_b") if base else ("density_b",)
