"""`spec.search` and `spec.evolution`: how genomes are found, without a merge and with real children."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darwinmerge.experiment.types import Frozen, Positive, PositiveShare, Share

MAX_CANDIDATES = 48  # of one generation: its genomes must fit into a 4 KiB termination message


class Range(Frozen):
    """Bounds of one gene."""

    min: Share
    """Lower bound."""
    max: Share
    """Upper bound."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        return self


class Densities(Range):
    """Bounds of a density, which is never 0: nothing would be kept."""

    min: PositiveShare
    """Lower bound."""


class Bounds(Frozen):
    """Bounds of the six genes."""

    ratio: Range = Range(min=0.0, max=1.0)
    """Norms, vision, multi-token prediction and all else that has no gene of its own."""
    attn: Range = Range(min=0.0, max=1.0)
    """Attention tensors."""
    ffn: Range = Range(min=0.0, max=1.0)
    """Feed-forward tensors."""
    embed: Range = Range(min=0.0, max=1.0)
    """Embeddings and the output head."""
    density_a: Densities = Densities(min=0.1, max=1.0)
    """Share of Father's task vector that is kept; without effect while Father himself is the base, and in methods
    without densities."""
    density_b: Densities = Densities(min=0.1, max=1.0)
    """Share of Mother's task vector that is kept; without effect in methods without densities."""


class Fitness(Frozen):
    """Phase 1's heuristic fitness. It predicts nothing about quality; it spreads the first real candidates."""

    balance: Share = 0.5
    """Weight of balance: how close the mean final ratio is to one half."""
    differentiation: Share = 0.4
    """Weight of differentiation: how close the spread of final ratios is to `targetSpread`."""
    density: Share = 0.1
    """Weight of density: how close density_b is to `targetDensity`; with a base, the mean of that over both."""
    target_spread: Positive = 0.05
    """The standard deviation of final ratios that differentiation likes best."""
    target_density: PositiveShare = 0.8
    """The density that the density term likes best."""


class Breeding(Frozen):
    """How Genetic makes a generation: from two of the best genomes so far by SLERP, then Gaussian mutation."""

    parents: PositiveShare = 0.5
    """How many of the best genomes measured so far are parents, as a share of a generation; always at least two."""
    decay: PositiveShare = 0.9
    """The mutation's step begins at `sigma0` and is multiplied by this after each generation of children."""


class Search(Frozen):
    """Phase 1: evolution of genomes on the heuristic fitness, without a single merge."""

    algorithm: Literal["CMAES", "Genetic"] = "CMAES"
    """CMAES: covariance matrix adaptation. Genetic: selection, SLERP crossover, Gaussian mutation. Either restarts
    from a seeded random point where it has converged."""
    steps: Annotated[int, Field(ge=1, le=10000)] = 200
    """Generations."""
    population: Annotated[int, Field(ge=2, le=1000)] = 20
    """Genomes a generation."""
    sigma0: Positive = 0.3
    """Initial step, as a share of a gene's range."""
    breeding: Breeding = Breeding()
    """What Genetic needs besides."""
    min_distance: Share = 0.1
    """Elites lie at least this far apart (greatest difference over the genes that have an effect)."""
    bounds: Bounds = Bounds()
    """Bounds of the genes, in Phase 1 and Phase 2."""
    fitness: Fitness = Fitness()
    """The heuristic's weights and targets."""


class Evolution(Frozen):
    """Phase 2: real children, merged and benchmarked."""

    algorithm: Literal["CMAES", "Elites", "Genetic"] = "CMAES"
    """CMAES: the first generation is Phase 1's elites, then CMA-ES starts at the best of them. Genetic: the first
    generation is Phase 1's elites, and the others descend from it. Elites: step k merges the next elites of
    Phase 1, the published letter."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Generations. It may be raised after a run has ended: the run then goes on."""
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 4
    """Children a generation."""
    sigma0: Positive = 0.15
    """Initial step of CMAES and Genetic, as a share of a gene's range."""
    breeding: Breeding = Breeding()
    """What Genetic needs besides."""
    max_failed_candidates: Annotated[int, Field(ge=1, le=1000)] = 16
    """The run ends where more candidates than this are rejected: something is wrong that a search doesn't mend."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algorithm == "CMAES" and self.candidates < 2:
            raise ValueError("CMAES needs at least 2 candidates a step; raise them, or use algorithm Elites or Genetic")
        if self.algorithm == "Elites" and self.steps * self.candidates > MAX_CANDIDATES:
            raise ValueError(
                f"Elites takes at most {MAX_CANDIDATES} children (steps x candidates is "
                f"{self.steps * self.candidates}); lower one of them, or use algorithm CMAES or Genetic"
            )
        return self
