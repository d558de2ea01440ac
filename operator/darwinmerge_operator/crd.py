"""The CustomResourceDefinition, written from the resource's types: `python -m darwinmerge_operator.crd FILE`.

pydantic writes JSON Schema; an API server takes a part of it, called structural: no references, no null, no union of
types but integer-or-string. Two choices of ours besides:

- Decimals are `type: number`. Integer-or-string refuses 0.7, which is what people write; a field without a type takes
  both, but its rules can't see it, so that bounds could neither be ordered nor compared.
- The server fills in no default of the spec: each would stand in every object, where GitOps tools take it for drift,
  and it would shield no run from another default, since ids leave default values out. Descriptions say each default
  instead. The one default is the status's observedGeneration, so that an object that nobody has looked at doesn't look
  done.
"""

import copy
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from darwinmerge_operator.engine_rules import rules_of
from darwinmerge_operator.resource import GROUP, KIND, PLURAL, VERSION, DarwinMerge, Spec
from darwinmerge_operator.rules import VALIDATIONS
from darwinmerge_operator.status import UNSEEN, Status

HEADER = "# Made by `make crd` from the types in operator/darwinmerge_operator; don't edit.\n"

COLUMNS: tuple[tuple[str, str, str], ...] = (  # of `kubectl get`
    ("Phase", "string", ".status.phase"),
    ("Gen", "string", ".status.shown.gen"),
    ("Evals", "string", ".status.shown.evals"),
    ("Best", "string", ".status.shown.best"),
    ("Vs-Parents", "string", ".status.shown.vsParents"),
    ("ETA", "string", ".status.shown.eta"),
    ("Age", "date", ".metadata.creationTimestamp"),
)
WIDE: tuple[tuple[str, str, str], ...] = (  # with `-o wide`
    ("Father", "string", ".spec.parents.father.uri"),
    ("Mother", "string", ".spec.parents.mother.uri"),
    ("Verdict", "string", ".status.verdict.label"),
    ("Child", "string", ".status.child.uri"),
)

Json = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with the rules of each model."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        """The schema of a model."""
        written = super().model_schema(schema)
        rules = rules_of(schema["cls"])
        return {**written, VALIDATIONS: [rule.validation() for rule in rules]} if rules else written


def crd() -> Json:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["dm"],
                "categories": ["darwin"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column, 0) for column in COLUMNS]
                    + [_column(column, 1) for column in WIDE],
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


def text() -> str:
    """The CustomResourceDefinition as YAML."""
    return HEADER + yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)


def pruned(part: Mapping[str, Any], model: type[BaseModel]) -> Json:
    """A spec or status without the fields that this version doesn't know: a newer CRD's, whose defaults mean what was
    before.
    """
    found: Json = _prune(dict(part), structural(model))
    return found


def _prune(value: Any, schema: Json) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {name: _prune(part, known[name]) for name, part in value.items() if name in known}
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        return {name: _prune(part, schema["additionalProperties"]) for name, part in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_prune(part, schema["items"]) for part in value]
    return value


def _column(column: tuple[str, str, str], priority: int) -> Json:
    name, kind, path = column
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}


def _schema() -> Json:
    status = copy.deepcopy(structural(Status))
    status["default"] = {"observedGeneration": UNSEEN}
    status["properties"]["observedGeneration"]["default"] = UNSEEN
    return {
        "description": _sentence(DarwinMerge.__doc__),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}", "type": "string"},
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(Spec),
            "status": status,
        },
        VALIDATIONS: [rule.validation() for rule in DarwinMerge.rules],
    }


@cache
def structural(model: type[BaseModel]) -> Json:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return _node(schema, schema.get("$defs", {}))


def _node(node: Json, definitions: Json) -> Json:
    """A schema in the part of JSON Schema that an API server takes."""
    if "$ref" in node:
        referred = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _node({**referred, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    if "anyOf" in node:
        return _node(_union(node), definitions)
    written: Json = {}
    if "description" in node:
        written["description"] = _sentence(node["description"]) + _default(node)
    for key, value in node.items():
        match key:
            case "properties":
                written[key] = {name: _node(value, definitions) for name, value in value.items()}
            case "items":
                written[key] = _node(value, definitions)
            case "additionalProperties" if isinstance(value, dict):
                written[key] = _node(value, definitions)
            case "const":
                written["enum"] = [value]
            case "exclusiveMinimum" | "exclusiveMaximum":
                written |= {key.replace("exclusiveM", "m"): value, key: True}
            case "type" | "format" | "enum" | "required" | "pattern":
                written[key] = value
            case _ if key.startswith(("min", "max", "x-kubernetes-")):
                written[key] = value
    return written


def _union(node: Json) -> Json:
    """One schema of several: of a value or nothing, that of the value; of an integer or a string, the special one."""
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    members = [member for member in node["anyOf"] if member.get("type") != "null"]
    if len(members) == 1:
        return {**members[0], **rest}
    integer, string = sorted(members, key=lambda member: str(member["type"]))
    words = [string["const"]] if "const" in string else string.get("enum")
    if words:
        string = {"pattern": f"^({'|'.join(words)})$", "maxLength": 32}
    both = {key: value for member in (integer, string) for key, value in member.items() if key != "type"}
    return {**both, "x-kubernetes-int-or-string": True, **rest}


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(node: Json) -> str:
    """A scalar default in words, where the description doesn't say it already."""
    default = node.get("default")
    if default in (None, "") or isinstance(default, dict | list) or "efault: " in node["description"]:
        return ""
    return f" Default: {str(default).lower() if isinstance(default, bool) else default}."


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
