"""What the engine checks by itself, in CEL: it knows nothing of Kubernetes, and an API server nothing of it."""

from collections.abc import Iterator, Mapping
from functools import partial

from darwinmerge.experiment import benchmark, manifest, merging, searching
from darwinmerge.experiment.kinds import KindRule
from darwinmerge.experiment.merging import Transplant
from darwinmerge.experiment.searching import MAX_CANDIDATES, Range
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.methods import METHODS, Parameters
from darwinmerge_operator.rules import Rule, literal, or_default


def _evolution(field: str) -> str:
    return or_default(searching.Evolution, field)


def _merge(field: str, path: str = "self") -> str:
    """CEL for a field of `path`, a `merge` that need not be there, or its default."""
    name = merging.Merge.model_fields[field].alias
    there = " && ".join(f"has({part})" for part in [path] * (path != "self") + [f"{path}.{name}"])
    return f"({there} ? {path}.{name} : {literal(merging.Merge.model_fields[field].default)})"


def _of_methods() -> Iterator[Rule]:
    """What `spec.merge` can't say for its method."""
    for field, info in Parameters.model_fields.items():
        methods = literal(merging.having(str(info.alias)))
        yield Rule(
            f"{_merge('method')} in {methods} || {_merge(field)} == {literal(info.default)}",
            merging.parameter_of(str(info.alias)),
        )
    yield Rule(
        f"{_merge('arithmetic')} != 'Source' || {_merge('method')} == 'DareTies'",
        f"{merging.SOURCE_IS_DARE_TIES}; leave it out, or choose another method",
    )


def _of_base() -> Iterator[Rule]:
    """What `spec.merge` can't say with a base, or without one."""
    based, merge = "has(self.parents.base)", partial(_merge, path="self.merge")
    for kind, rule, message in (
        ("Needed", f"{based} ||", "moves from a base to both parents; name it at parents.base.uri"),
        ("Unused", f"!{based} ||", "has no use for parents.base; leave it out, or choose another method"),
    ):
        names = [method.name for method in METHODS.values() if method.base == kind]
        yield Rule(f"{rule} !({merge('method')} in {literal(names)})", f"merge.method {' or '.join(names)} {message}")
    yield Rule(
        f"!{based} || {merge('arithmetic')} != 'Source'", f"{merging.SOURCE_IS_DARE_TIES}; leave one of them out"
    )
    plain = [
        f"{merge(field)} != 'L1'" if field == "rescale" else f"{merge(field)} == {literal(info.default)}"
        for field, info in Parameters.model_fields.items()
    ]
    yield Rule(f"{based} || {' && '.join(plain)}", merging.ONLY_WITH_A_BASE)


ENGINE_RULES: Mapping[type[Frozen], tuple[Rule, ...]] = {
    manifest.Parents: (
        Rule("self.father.uri != self.mother.uri", "father and mother are the same model; there is nothing to merge"),
        Rule(
            "!has(self.base) || self.base.uri != self.father.uri && self.base.uri != self.mother.uri",
            manifest.BASE_IS_A_PARENT,
        ),
    ),
    merging.Merge: tuple(_of_methods()),
    manifest.Spec: tuple(_of_base()),
    KindRule: (
        Rule(
            "''.matches(self.pattern) in [true, false]",
            "pattern is a regular expression without lookaround and back-references",
        ),
    ),
    Range: (Rule("self.min < self.max", "min must be below max"),),
    Transplant: (
        Rule(
            f"{or_default(Transplant, 'below')} < {or_default(Transplant, 'above')}",
            f"below must be less than above (defaults: {Transplant().below:g} and {Transplant().above:g})",
        ),
    ),
    searching.Evolution: (
        Rule(
            f"{_evolution('algorithm')} != 'CMAES' || {_evolution('candidates')} >= 2",
            "CMAES needs at least 2 candidates a step; raise them, or use algorithm Elites or Genetic",
        ),
        Rule(
            f"{_evolution('algorithm')} != 'Elites' || "
            f"{_evolution('steps')} * {_evolution('candidates')} <= {MAX_CANDIDATES}",
            f"Elites takes at most {MAX_CANDIDATES} children (steps x candidates); lower one of them, or use algorithm "
            "CMAES or Genetic",
        ),
    ),
    benchmark.Evaluation: (
        Rule(
            "self.tasks.all(one, self.tasks.exists_one(other, other.name == one.name))",
            "task named more than once; raise its weight instead",
        ),
        Rule(
            f"!has(self.modelArgs) || !self.modelArgs.matches('(^|,)({'|'.join(benchmark.NOT_MODEL_ARGS)})=')",
            f"modelArgs can't hold {', '.join(benchmark.NOT_MODEL_ARGS)}: {benchmark.NOT_MODEL_ARGS_BECAUSE}",
        ),
    ),
}


def rules_of(model: type[Frozen]) -> tuple[Rule, ...]:
    """Every rule of a model, those included that the engine checks by itself."""
    own = tuple(rule for cls in model.__mro__ for rule in cls.__dict__.get("rules", ()))
    return (*own, *(rule for cls in model.__mro__ for rule in ENGINE_RULES.get(cls, ())))
