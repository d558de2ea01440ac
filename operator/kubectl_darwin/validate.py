"""`kubectl darwin validate`: a manifest, checked offline and then by the API server, without a trace."""

from pathlib import Path

import click

from darwinmerge.cli.estimate import estimate
from darwinmerge.cli.validate import text
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.load import load
from darwinmerge.experiment.places import require_apart
from darwinmerge_operator.resource import DarwinMerge
from kubectl_darwin.arguments import WHERE, cluster_of, takes_cluster, takes_form, tell
from kubectl_darwin.cluster import Unreachable

EPILOG = """
\b
Examples:
  kubectl darwin validate -f merge.yaml               and kubectl apply -f merge.yaml
  kubectl darwin validate -f merge.yaml --offline     as darwin validate --cluster
  kubectl darwin validate -f merge.yaml -n team-a -o json | jq .questions
"""


@click.command(epilog=EPILOG)
@click.option("-f", "--filename", "path", required=True, type=click.Path(path_type=Path), help="The manifest.")
@click.option("--offline", is_flag=True, help="Ask no API server.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@takes_form("json", "yaml")
@takes_cluster
def validate(path: Path, offline: bool, debug: bool, form: str, **where: str) -> None:
    """Check a manifest: every mistake at once, what it costs, what its verdict can see; and ask the API server.

    The API server is asked by a dry run with your rights: it knows its own version of DarwinMerge, admission policies,
    and what can't change in one that is there already. Where it can't be reached that is said, and the rest counts.
    """
    manifest = load(path, DarwinMerge)
    assert isinstance(manifest, DarwinMerge)
    experiment = manifest.experiment()
    require_apart(experiment)
    found = estimate(experiment)
    answer = "not asked (--offline)" if offline else _asked(manifest, {name: where[name] for name in WHERE})
    if form:
        tell({**found.model_dump(mode="json", by_alias=True), "apiServer": answer}, form)
    else:
        click.echo(f"{text(str(path), found)}\n  API server  {answer}")


def _asked(manifest: DarwinMerge, where: dict[str, str]) -> str:
    body = manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    try:
        cluster = cluster_of(where)
    except BadConfiguration as error:
        if any(where.values()):
            raise
        return f"not asked: {error}"
    namespace = where["namespace"] or body["metadata"].get("namespace") or cluster.namespace
    if body["metadata"].get("namespace", namespace) != namespace:
        raise BadConfiguration(f"-n {namespace}: the manifest says namespace {body['metadata']['namespace']}")
    body["metadata"]["namespace"] = namespace
    try:
        return f"would be {cluster.rehearse(body)} in namespace {namespace}"
    except Unreachable as error:
        return f"not asked: {error}"
