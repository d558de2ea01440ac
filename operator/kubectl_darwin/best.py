"""`kubectl darwin best`: what the best child is made of, so that it can be made again by hand."""

import shlex
from typing import Any

import click

from darwinmerge.checkpoint.commits import at_commits
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import SIDES, Bindings
from darwinmerge.merge.recipe import Recipe, child_recipe
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.tasks import mixing_of
from darwinmerge.report.state import Scored, State
from darwinmerge.search.genome import GENES
from darwinmerge.store import fetch, layout
from darwinmerge_operator.ledger import Ledger, ledger_name
from darwinmerge_operator.resource import DarwinMerge
from kubectl_darwin.arguments import reaches_cluster, takes_form, tell
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.found import remembered
from kubectl_darwin.store import store_of

EPILOG = """
\b
Examples:
  kubectl darwin best my-merge > best.yaml
  kubectl darwin best my-merge -o json | jq .genome
  kubectl darwin best my-merge --recipe          tensor by tensor, from the store: needs S3 credentials
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option("--recipe", "whole", is_flag=True, help="Add what becomes of each tensor (S3 credentials, pyarrow).")
@takes_form("yaml", "json")
@reaches_cluster
def best(cluster: Cluster, name: str, whole: bool, form: str) -> None:
    """Print the best candidate as YAML: genome, parents, merge settings, and the darwin merge that makes it again.

    The best on search rows; once the finalists were scored again, the winner. It was chosen for its score, which
    flatters it: what it is worth the verdict says.
    """
    resource, ledger, state = remembered(cluster, cluster.named(name))
    if state.best is None:
        raise BadConfiguration(f"{name}: no candidate has a score yet; it is at: {state.progress.stage}")
    resolved = walk(resource.experiment(), ledger.results).resolved
    where = at_commits(resource.experiment().where, resolved.commits if resolved else {})
    told = made_of(resource, where, state, state.best)
    if whole:
        told["tensors"] = _recipe(resource, ledger, state.best).model_dump(mode="json", by_alias=True)["decisions"]
    tell(told, form or "yaml")


def made_of(resource: DarwinMerge, where: Bindings, state: State, chosen: Scored) -> dict[str, Any]:
    """What a candidate is made of, in plain data; its parents, at `where`, on a hub at the run's commits."""
    spec, at = resource.spec, chosen.candidate
    genome = dict(zip(GENES, at.genome.values(), strict=True))
    mixing = mixing_of(resource.experiment().spec).model_dump(mode="json", by_alias=True)
    return {
        "experiment": state.name,
        "from": f"ConfigMap {ledger_name(state.name)}, where the operator keeps what workers report; "
        f"the same as darwin show {state.store}",
        "generation": at.generation,
        "candidate": at.index + 1,
        "score": chosen.score,
        "recipe": chosen.recipe,
        "child": state.child if state.verdict else "",
        "parents": {who: where.parent(who)[0] for who in where.models},
        "genome": genome,
        "seed": spec.seed,
        **mixing,
        "again": _command(resource, where, genome),
    }


def _command(resource: DarwinMerge, where: Bindings, genome: dict[Any, float]) -> str:
    """`darwin merge` with every setting that isn't its default."""
    spec = resource.spec
    genes = ",".join(f"{gene}={value:g}" for gene, value in genome.items())
    words = ["darwin", "merge", "--father", where.father, "--mother", where.mother]
    words += [*(["--base", where.base] if where.base else []), "--genome", genes]
    words += ["--seed", str(spec.seed), "-o", "child"]
    for who in SIDES:
        base = where.parent(who)[1]
        words += ["--set", f"parents.{who}.base={base}"] if base else []
    for section in ("mri", "merge"):
        set_by_hand = getattr(spec, section).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for path, value in _leaves(set_by_hand, section):
            words += ["--set", f"{path}={value}"]
    return shlex.join(words)


def _leaves(node: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(node, dict):
        return [(path, node)]
    return [leaf for name, inner in node.items() for leaf in _leaves(inner, f"{path}.{name}")]


def _recipe(resource: DarwinMerge, ledger: Ledger, chosen: Scored) -> Recipe:
    """The recipe, computed from the diagnosis as workers do.

    Raises:
        BadInput: it isn't the one that was scored.
    """
    try:
        from darwinmerge.mri.table import from_parquet
    except ModuleNotFoundError as error:
        raise BadConfiguration(f"--recipe needs {error.name}: pip install 'darwinmerge[torch]'") from None
    x = resource.experiment()
    known, store = walk(x, ledger.results), store_of(resource)
    assert known.mri and known.resolved
    rows = from_parquet(fetch(store, layout.table(known.mri.table)), known.mri.table)
    recipe = child_recipe(rows, chosen.candidate.genome, known.resolved.pins, mixing_of(x.spec), x.spec.seed)
    if recipe.id != chosen.recipe:
        raise BadInput(f"the recipe of this version is {recipe.id}, and {chosen.recipe} was scored; use one version")
    return recipe
