"""DarwinMerges for a cluster: a small one, one with every field, and bad ones with one mistake each; a long status."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from darwinmerge.search.genome import GENES
from darwinmerge_operator.status import REASONS, RECENT, Status

GONE = object()  # in edits: the field isn't there
Where = tuple[str | int, ...]


def small() -> dict[str, Any]:
    """Nothing but what is required."""
    return {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": "small"},
        "spec": {
            "parents": {"father": {"uri": "s3://models/father"}, "mother": {"uri": "s3://models/mother"}},
            "evaluation": {"tasks": [{"name": "arc_easy"}]},
            "store": {"uri": "s3://runs/small"},
        },
    }


def full() -> dict[str, Any]:
    """Every field, each with another value than its default, where that goes with the others."""
    text = (Path(__file__).parent / "full.yaml").read_text()
    read: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(text)))  # its aliases become copies
    return read


def edited(document: Mapping[str, Any], edits: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy with fields set or gone; a place is a path or a dotted text, and sections are made as needed."""
    found: dict[str, Any] = copy.deepcopy(dict(document))
    for where, value in edits.items():
        *parts, last = where if isinstance(where, tuple) else map(_part, where.split("."))
        holder: Any = found
        for part in parts:
            holder = holder[part] if isinstance(part, int) else holder.setdefault(part, {})
        if value is GONE:
            del holder[last]
        elif isinstance(last, int):
            holder[last : last + 1] = [value]
        else:
            holder[last] = value
    return found


def _part(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def fields(node: Any, below: Where) -> Iterator[Where]:
    """Paths of all that stands in `node`, which stands at `below`; outermost first."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in inner:
        yield (*below, name)
        yield from fields(value, (*below, name))


def at(document: Any, where: Where) -> Any:
    """What stands at a path."""
    for part in where:
        document = document[part]
    return document


def longest_status() -> Status:
    """A status with as much as there can be."""
    long, word, uri, digest = "x" * 100_000, "x" * 64, "s3://" + "x" * 1024, "0" * 64
    counts = ("step", "steps", "candidates", "candidatesTotal", "rejected", "questions", "questionsTotal")
    versus = {"result": "NotDifferent", **dict.fromkeys(("difference", "low", "high", "p"), -0.123456789012)}
    candidate = {"generation": 1000, "index": 47, "score": 0.123456789012}
    condition = {"status": "True", "message": long, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return Status.model_validate(
        {
            "observedGeneration": 2**31,
            "phase": word,
            "conditions": [
                {"type": kind, "reason": max(reasons, key=len), "observedGeneration": 2**31, **condition}
                for kind, reasons in REASONS.items()
            ],
            "progress": {"stage": word, **dict.fromkeys(counts, 2**31)},
            "shown": dict.fromkeys(("gen", "evals", "best", "vsParents", "eta"), word),
            "parents": dict.fromkeys(("father", "mother", "linear"), 0.123456789012),
            "best": {**candidate, "genome": dict.fromkeys(GENES, 0.123456)},
            "recent": [{**candidate, "rejected": long}] * RECENT,
            "verdict": {
                "label": "NoSignificantDifference",
                "questions": 2**31,
                "alpha": 0.05,
                "looks": 1000,
                **dict.fromkeys(("vsFather", "vsMother", "vsLinear"), versus),
            },
            "child": {"uri": uri, "recipe": digest, "weights": digest},
            "report": uri,
            "summary": uri,
            "image": "x" * 512,
            "activeSeconds": 2**31,
            "lastHandledRetryAt": "x" * 256,
        }
    )


class Bad(NamedTuple):
    """A manifest with one mistake."""

    edits: Mapping[str, Any]  # of the small one
    field: str  # where the mistake is told
    says: str  # part of what an API server says of it


TASKS = "spec.evaluation.tasks"
TEMPLATE = "spec.cluster.template"
VOLUME = {"name": "data", "emptyDir": {}}

BAD: dict[str, Bad] = {
    "no parents": Bad({"spec.parents": GONE}, "spec.parents", "Required value"),
    "no mother": Bad({"spec.parents.mother": GONE}, "spec.parents.mother", "Required value"),
    "no store": Bad({"spec.store": GONE}, "spec.store", "Required value"),
    "no benchmark": Bad({"spec.evaluation": GONE}, "spec.evaluation", "Required value"),
    "no task": Bad({TASKS: []}, TASKS, "at least 1 items"),
    "unknown field": Bad({"spec.mri.weigth": 0.5}, "spec.mri.weigth", "unknown field"),
    "unknown section": Bad({"spec.sarch": {}}, "spec.sarch", "unknown field"),
    "unknown field of the cluster": Bad({"spec.cluster.paralelism": 4}, "spec.cluster.paralelism", "unknown field"),
    "upper case name": Bad({"metadata.name": "Small"}, "metadata.name", "RFC 1123"),
    "dotted name": Bad({"metadata.name": "small.one"}, "metadata.name", "digits and dashes"),
    "long name": Bad({"metadata.name": "x" * 37}, "metadata.name", "at most 36"),
    "quoted decimal": Bad({"spec.mri.weight": "0.7"}, "spec.mri.weight", "must be of type number"),
    "share above one": Bad({"spec.mri.weight": 1.5}, "spec.mri.weight", "less than or equal to 1"),
    "negative share": Bad({"spec.mri.minSpread": -0.1}, "spec.mri.minSpread", "greater than or equal to 0"),
    "base of one": Bad({"spec.mri.entropyBase": 1}, "spec.mri.entropyBase", "greater than 1"),
    "zero step": Bad({"spec.search.sigma0": 0}, "spec.search.sigma0", "greater than 0"),
    "another model than the child": Bad(
        {"spec.evaluation.modelArgs": "max_length=9,pretrained=x"}, "spec.evaluation", "modelArgs can't hold"
    ),
    "arguments that are none": Bad(
        {"spec.evaluation.modelArgs": "max_length"}, "spec.evaluation.modelArgs", "should match"
    ),
    "level of one half": Bad({"spec.evaluation.alpha": 0.5}, "spec.evaluation.alpha", "less than 0.5"),
    "number with a fraction": Bad({"spec.mri.bins": 64.5}, "spec.mri.bins", "must be of type integer"),
    "quoted number": Bad({"spec.seed": "5"}, "spec.seed", "must be of type integer"),
    "too large a seed": Bad({"spec.seed": 2**53}, "spec.seed", "less than 9007199254740992"),
    "negative seed": Bad({"spec.seed": -1}, "spec.seed", "greater than or equal to 0"),
    "unknown word": Bad({"spec.merge.rescale": "L9"}, "spec.merge.rescale", 'supported values: "None", "Inverse"'),
    "bounds the wrong way": Bad(
        {"spec.search.bounds.attn": {"min": 0.6, "max": 0.4}}, "spec.search.bounds.attn", "min must be below max"
    ),
    "bounds of no width": Bad(
        {"spec.search.bounds.densityB": {"min": 1, "max": 1}}, "spec.search.bounds.densityB", "min must be below max"
    ),
    "half a bound": Bad({"spec.search.bounds.ffn": {"min": 0.6}}, "spec.search.bounds.ffn.max", "Required value"),
    "thresholds the wrong way": Bad(
        {"spec.merge.transplant": {"above": 0.01}}, "spec.merge.transplant", "below must be"
    ),
    "broken pattern": Bad(
        {"spec.mri.kinds": [{"pattern": "(attn", "kind": "attention"}]}, "spec.mri.kinds[0]", "regular expression"
    ),
    "pattern that looks ahead": Bad(
        {"spec.mri.kinds": [{"pattern": "attn(?!x)", "kind": "attention"}]}, "spec.mri.kinds[0]", "regular expression"
    ),
    "unknown kind": Bad(
        {"spec.mri.kinds": [{"pattern": "attn", "kind": "atention"}]}, "spec.mri.kinds[0].kind", "Unsupported value"
    ),
    "too many candidates": Bad(
        {"spec.evolution.candidates": 49}, "spec.evolution.candidates", "less than or equal to 48"
    ),
    "CMAES with one candidate": Bad({"spec.evolution.candidates": 1}, "spec.evolution", "at least 2 candidates"),
    "too many elites": Bad(
        {"spec.evolution": {"algorithm": "Elites", "candidates": 5}}, "spec.evolution", "Elites takes at most 48"
    ),
    "more children than a ledger holds": Bad(
        {"spec.evolution": {"steps": 63, "candidates": 48}}, "spec.evolution", "at most 3000 children"
    ),
    "father is mother": Bad(
        {"spec.parents.mother.uri": "s3://models/father"}, "spec.parents", "father and mother are the same model"
    ),
    "base is father": Bad(
        {"spec.parents.base": {"uri": "s3://models/father"}}, "spec.parents", "base is one of the parents"
    ),
    "base in a folder": Bad({"spec.parents.base": {"uri": "base"}}, "spec.parents.base.uri", "give its s3:// URI"),
    "Ties without a base": Bad({"spec.merge": {"method": "Ties"}}, "spec", "name it at parents.base.uri"),
    "Slerp with a base": Bad(
        {"spec.merge": {"method": "Slerp"}, "spec.parents.base": {"uri": "s3://models/base"}},
        "spec",
        "has no use for parents.base",
    ),
    "lambda without a base": Bad({"spec.merge": {"lambda": 0.5}}, "spec", "need a base; name it"),
    "L1 without a base": Bad({"spec.merge": {"rescale": "L1"}}, "spec", "need a base; name it"),
    "Source with a base": Bad(
        {"spec.merge": {"arithmetic": "Source"}, "spec.parents.base": {"uri": "s3://models/base"}},
        "spec",
        "the letter of DareTies without a base",
    ),
    "parameter of another method": Bad(
        {"spec.merge": {"method": "Linear", "rescale": "Inverse"}}, "spec.merge", "rescale is a parameter of DareTies"
    ),
    "Source of another method": Bad(
        {"spec.merge": {"method": "Linear", "arithmetic": "Source"}}, "spec.merge", "the letter of DareTies"
    ),
    "task twice": Bad({TASKS: [{"name": "arc_easy"}] * 2}, "spec.evaluation", "task named more than once"),
    "task without a name": Bad({TASKS: [{"weight": 2}]}, f"{TASKS}[0].name", "Required value"),
    "metric without a filter": Bad({f"{TASKS}.0.metric": "acc"}, f"{TASKS}[0].metric", "should match"),
    "rows in words": Bad({f"{TASKS}.0.search.rows": "Some"}, f"{TASKS}[0].search.rows", "should match '^(All)$'"),
    "no rows": Bad({f"{TASKS}.0.verdict.rows": 0}, f"{TASKS}[0].verdict.rows", "greater than or equal to 1"),
    "size in other words": Bad({"spec.output.maxShardSize": "5 gigs"}, "spec.output.maxShardSize", "should match"),
    "parent in a folder": Bad({"spec.parents.father.uri": "models/a"}, "spec.parents.father.uri", "give its s3:// URI"),
    "parent by file://": Bad({"spec.parents.father.uri": "file:///a"}, "spec.parents.father.uri", "give its s3:// URI"),
    "parent by ftp://": Bad({"spec.parents.father.uri": "ftp://h/a"}, "spec.parents.father.uri", "give its s3:// URI"),
    "parent without a bucket": Bad(
        {"spec.parents.father.uri": "s3://"}, "spec.parents.father.uri", "s3://bucket/prefix"
    ),
    "parent above its bucket": Bad(
        {"spec.parents.father.uri": "s3://b/../c"}, "spec.parents.father.uri", "s3://bucket"
    ),
    "adapter on a folder": Bad(
        {"spec.parents.father.base": "models/a"}, "spec.parents.father.base", "a Pod finds it at"
    ),
    "parent without an organisation": Bad({"spec.parents.father.uri": "hf://m"}, "spec.parents.father.uri", "hf://org"),
    "store in a folder": Bad({"spec.store.uri": "runs/small"}, "spec.store.uri", "in a cluster the store is s3://"),
    "store on a claim": Bad(
        {"spec.store.uri": "pvc://runs/small"}, "spec.store.uri", "in a cluster the store is s3://"
    ),
    "output in a folder": Bad({"spec.output.uri": "child"}, "spec.output.uri", "the child is published to s3://"),
    "output over a whole claim": Bad({"spec.output.uri": "pvc://models/"}, "spec.output.uri", "a folder of a claim"),
    "output above its claim": Bad({"spec.output.uri": "pvc://models/../b"}, "spec.output.uri", "a folder of a claim"),
    "claim that can't be": Bad({"spec.output.uri": "pvc://models..b/child"}, "spec.output.uri", "a folder of a claim"),
    "hub without an organisation": Bad({"spec.output.hub": {"repo": "child"}}, "spec.output.hub.repo", "should match"),
    "hub without a repository": Bad({"spec.output.hub": {"private": True}}, "spec.output.hub.repo", "Required value"),
    "a verdict that there isn't": Bad({"spec.output.publishIf": "Better"}, "spec.output.publishIf", '"BeatsBoth"'),
    "task folder of a machine": Bad(
        {"spec.evaluation.taskFolder": "tasks"}, "spec.evaluation.taskFolder", "absolute path in a Pod"
    ),
    "no Jobs at all": Bad({"spec.cluster.parallelism": 0}, "spec.cluster.parallelism", "greater than or equal to 1"),
    "deadline of nothing": Bad(
        {"spec.cluster.activeDeadlineSeconds": 0}, "spec.cluster.activeDeadlineSeconds", "greater than or equal to 1"
    ),
    "unknown execution": Bad({"spec.cluster.execution": "Split"}, "spec.cluster.execution", '"Fused", "Staged"'),
    "endpoint without a scheme": Bad(
        {"spec.cluster.store.endpoint": "s3.example.org"}, "spec.cluster.store.endpoint", "should match"
    ),
    "image with a blank": Bad({"spec.cluster.image": "darwin 1"}, "spec.cluster.image", "should match"),
    "Secret without a name": Bad(
        {"spec.cluster.store.credentialsSecret": {}}, "spec.cluster.store.credentialsSecret.name", "Required value"
    ),
    "cores with a fraction": Bad(
        {f"{TEMPLATE}.resources.limits.cpu": 0.5}, f"{TEMPLATE}.resources.limits.cpu", "of type integer,string"
    ),
    "no quantity": Bad(
        {f"{TEMPLATE}.resources.limits.memory": "8 GB"}, f"{TEMPLATE}.resources.limits.memory", "should match"
    ),
    "variable without a value": Bad(
        {f"{TEMPLATE}.env": [{"name": "A"}]}, f"{TEMPLATE}.env[0]", "set exactly one of value"
    ),
    "variable from two places": Bad(
        {
            f"{TEMPLATE}.env": [
                {
                    "name": "A",
                    "valueFrom": {
                        "secretKeyRef": {"name": "a", "key": "a"},
                        "configMapKeyRef": {"name": "a", "key": "a"},
                    },
                }
            ]
        },
        f"{TEMPLATE}.env[0].valueFrom",
        "set exactly one of secretKeyRef",
    ),
    "variable twice": Bad({f"{TEMPLATE}.env": [{"name": "A", "value": "1"}] * 2}, f"{TEMPLATE}.env", "Duplicate value"),
    "variable of the operator": Bad(
        {f"{TEMPLATE}.env": [{"name": "DARWIN_ORDERS", "value": "1"}]}, f"{TEMPLATE}.env[0].name", "are the operator's"
    ),
    "volume of two kinds": Bad(
        {f"{TEMPLATE}.volumes": [{**VOLUME, "secret": {"secretName": "a"}}]},
        f"{TEMPLATE}.volumes[0]",
        "set exactly one of emptyDir",
    ),
    "volume of no kind": Bad(
        {f"{TEMPLATE}.volumes": [{"name": "data"}]}, f"{TEMPLATE}.volumes[0]", "set exactly one of emptyDir"
    ),
    "volume on the node": Bad(
        {f"{TEMPLATE}.volumes": [{**VOLUME, "hostPath": {"path": "/"}}]},
        f"{TEMPLATE}.volumes[0].hostPath",
        "unknown field",
    ),
    "volume of the operator": Bad(
        {f"{TEMPLATE}.volumes": [{**VOLUME, "name": "claim-0"}]}, f"{TEMPLATE}.volumes[0].name", "operator has a volume"
    ),
    "mount of no volume": Bad(
        {f"{TEMPLATE}.volumeMounts": [{"name": "data", "mountPath": "/data"}]}, TEMPLATE, "names an entry of volumes"
    ),
    "mount over scratch": Bad(
        {f"{TEMPLATE}.volumes": [VOLUME], f"{TEMPLATE}.volumeMounts": [{"name": "data", "mountPath": "/scratch"}]},
        f"{TEMPLATE}.volumeMounts[0].mountPath",
        "have their volumes",
    ),
    "privileged": Bad(
        {f"{TEMPLATE}.securityContext.privileged": True}, f"{TEMPLATE}.securityContext.privileged", "unknown field"
    ),
    "root": Bad(
        {f"{TEMPLATE}.securityContext.runAsUser": 0},
        f"{TEMPLATE}.securityContext.runAsUser",
        "greater than or equal to 1",
    ),
    "host's network": Bad({f"{TEMPLATE}.hostNetwork": True}, f"{TEMPLATE}.hostNetwork", "unknown field"),
    "label of the operator": Bad(
        {f"{TEMPLATE}.labels": {"darwinmerge.io/stage": "mri"}}, f"{TEMPLATE}.labels", "are the operator's"
    ),
    "volumes for one stage": Bad(
        {"spec.cluster.stages.mri.volumes": [VOLUME]}, "spec.cluster.stages.mri.volumes", "unknown field"
    ),
    "unknown stage": Bad({"spec.cluster.stages.score": {}}, "spec.cluster.stages.score", "unknown field"),
}
