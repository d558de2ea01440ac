"""A tensor's kind and layer, by its name.

The kind decides which gene speaks for a tensor. The table is part of the manifest, first match wins; this
is its default, which covers the naming of Llama, Qwen and their relatives, hybrid (Gated DeltaNet) layers,
vision towers and multi-token-prediction heads included.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import SchemaError

from darwinmerge.experiment.types import Frozen

Kind = Literal["attention", "ffn", "embedding", "norm", "vision", "mtp", "other"]
Gene = Literal["ratio", "attn", "ffn", "embed", "density_a", "density_b"]

GENE_OF_KIND: dict[str, Gene] = {"attention": "attn", "ffn": "ffn", "embedding": "embed"}


def _pattern(pattern: str) -> str:
    """A pattern that Python can search for, within the grammar of RE2 and Rust: no lookaround, no back-references.

    An API server checks patterns by RE2, and a manifest is to mean the same wherever it is read.
    """
    try:
        re.compile(pattern)
        TypeAdapter(Annotated[str, Field(pattern=pattern)])
    except (re.error, SchemaError) as error:
        raise ValueError(f"not a regular expression: {str(error).splitlines()[-1].removeprefix('error: ')}") from None
    return pattern


class KindRule(Frozen):
    """Names that match `pattern` are tensors of `kind`."""

    pattern: Annotated[str, Field(max_length=256), AfterValidator(_pattern)]
    """A regular expression searched for anywhere in the tensor's name; without lookaround and back-references."""
    kind: Kind
    """What such a tensor is; attention, ffn and embedding have a gene of their own, all others take `ratio`."""


DEFAULT_KINDS: tuple[KindRule, ...] = (
    KindRule(pattern=r"(^|\.)mtp\.", kind="mtp"),
    KindRule(pattern=r"(^|\.)(visual|vision|vision_tower|vision_model)\.", kind="vision"),
    KindRule(pattern=r"(^|\.)(embed_tokens|wte|lm_head|output_embeddings)\.", kind="embedding"),
    KindRule(pattern=r"(attn|(^|\.)attention)[^.]*(\.|$)", kind="attention"),
    KindRule(pattern=r"(^|\.)(mlp|experts|feed_forward)\.", kind="ffn"),
    KindRule(pattern=r"norm", kind="norm"),
)

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")


@lru_cache(maxsize=32)
def _compiled(rules: tuple[KindRule, ...]) -> tuple[tuple[re.Pattern[str], Kind], ...]:
    return tuple((re.compile(rule.pattern), rule.kind) for rule in rules)


def kind_of(name: str, rules: Sequence[KindRule] = DEFAULT_KINDS) -> Kind:
    """The kind of the tensor called `name`: the first rule whose pattern is found in it, else `other`."""
    for pattern, kind in _compiled(tuple(rules)):
        if pattern.search(name):
            return kind
    return "other"


def gene_of(kind: str) -> Gene:
    """The gene that speaks for tensors of `kind`."""
    return GENE_OF_KIND.get(kind, "ratio")


def layer_of(name: str) -> str:
    """The layer that `name` belongs to: `12`, `vision.3`, `mtp.0`, or `-` for tensors outside any layer."""
    kind = kind_of(name)
    found = _LAYER.search(name)
    number = found.group(1) if found else "-"
    return f"{kind}.{number}" if kind in ("vision", "mtp") else number


def order_of(layer: str) -> tuple[str, int]:
    """What layers are sorted by: those of the language model first, by number."""
    place, _, number = layer.rpartition(".")
    return place, int(number) if number.isdigit() else -1
