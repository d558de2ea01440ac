"""The two ways in which a score can end without one, and without an error."""

from typing import Literal

from darwinmerge.search.genome import Genome

Reason = Literal["NonFiniteScores", "EvaluatorError"]


class Rejection(Exception):
    """The task's inputs doom it; the result is stored, and the task is not tried again."""

    def __init__(self, reason: Reason, message: str) -> None:
        """A rejection for `reason`."""
        super().__init__(message)
        self.reason, self.message = reason, message


class OtherGenomes(Exception):
    """This generation was recorded with other genomes."""

    def __init__(self, genomes: tuple[Genome, ...]) -> None:
        """Carry the genomes that stand in the store."""
        super().__init__("this generation was recorded with other genomes")
        self.genomes = genomes
