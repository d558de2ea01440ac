"""What the health check says of 18 undamaged and 30 damaged children of a pair that its limits were not chosen on.

The pair is the example's, SmolLM2 of 135 M parameters and its fine-tune, as in `overhead.py`. An undamaged child is
merged by a random genome and should raise no flag. A damaged one has the rows of one tensor in another order, which
leaves its entropy, deviation and norm what they were; its layer should be named, and no other.
"""

import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Goal, arguments, keep, load, versions
from overhead import parents_of
from report import checked

from darwinmerge.checkpoint.dtypes import Bits
from darwinmerge.checkpoint.folder import SINGLE, ModelFolder
from darwinmerge.checkpoint.header import build_header
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.pair import aligned
from darwinmerge.experiment.manifest import Health, Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.health.compare import HealthTable
from darwinmerge.health.task import examine
from darwinmerge.merge.arithmetic import merged_tensors
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe
from darwinmerge.mri.table import TensorRow, diagnose
from darwinmerge.search.genome import Genome

UNDAMAGED = {  # how many children of each
    "DareTies": (6, Merge()),
    "Linear": (3, Merge(method="Linear")),
    "Slerp": (3, Merge(method="Slerp")),
    "DareTies, rescale Inverse": (6, Merge(rescale="Inverse")),
}
DAMAGED = {
    "rows of mlp.down_proj": "mlp.down_proj",
    "rows of self_attn.o_proj": "self_attn.o_proj",
    "post_attention_layernorm": "post_attention_layernorm",
}
LAYERS = range(0, 30, 3)
GENOME = Genome(ratio=0.4, attn=0.6, ffn=0.3, embed=0.5, density_a=1.0, density_b=0.8)  # of the damaged


@dataclass(frozen=True)
class Child:
    """A child to be made, and what the check should say of it."""

    kind: str
    genome: Genome = GENOME
    merge: Merge = field(default_factory=Merge)
    layer: str = ""  # that is damaged
    tensor: str = ""  # of it, whose rows change places


def children() -> Iterator[Child]:
    """All children, the same each time."""
    dice = random.Random(7)
    for kind, (count, merge) in UNDAMAGED.items():
        for _ in range(count):
            genes = [dice.random() for _ in range(4)]
            yield Child(kind, Genome.of([*genes, 1.0, dice.uniform(0.1, 1)]), merge)
    for kind, part in DAMAGED.items():
        for layer in LAYERS:
            yield Child(kind, layer=str(layer), tensor=f"model.layers.{layer}.{part}.weight")


def write(child: Child, rows: Sequence[TensorRow], parents: tuple[ModelFolder, ModelFolder], folder: Path) -> None:
    """A child's folder, damaged where it should be, with Father's config and tokenizer."""
    mixing = Mixing(mri_weight=0.7, merge=child.merge)
    recipe = child_recipe(rows, child.genome, Pins(father="father", mother="mother"), mixing, 1)
    made = zip(recipe.decisions, merged_tensors(recipe.decisions, recipe, *parents), strict=True)
    tensors = {decision.name: (parents[0].info(decision.name).shape, *of) for decision, of in made}
    if child.tensor:
        shape, bits, dtype = tensors[child.tensor]
        tensors[child.tensor] = shape, permuted(bits, shape[0]), dtype
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / SINGLE).open("wb") as file:
        file.write(build_header([(name, dtype, shape) for name, (shape, _, dtype) in tensors.items()]))
        for _, bits, _ in tensors.values():
            file.write(bits.tobytes())
    for name in parents[0].side_files():
        (folder / name).write_bytes(parents[0].read(name))


def permuted(bits: Bits, rows: int) -> Bits:
    """A tensor's elements with its rows in another order."""
    order = np.random.default_rng(0).permutation(rows)
    return np.ascontiguousarray(bits.reshape(rows, -1)[order]).ravel()


def said(child: Child, table: HealthTable) -> dict[str, Any]:
    """What the check says of a child; distances of outputs in units of the parents' from each other."""
    times = {layer.layer: layer.shift.times for layer in table.layers if layer.shift}
    return {
        "kind": child.kind,
        "damaged": child.layer,
        "density_b": child.genome.density_b,
        "flags": {layer.layer: layer.flag for layer in table.layers if layer.flag},
        "damaged_times": times.get(child.layer),
        "greatest_times": max(found for layer, found in times.items() if layer != child.layer),
    }


def main() -> None:
    """Make and check the children, keep what was said, and print the table."""
    given = arguments(__doc__)
    work: Path = given.work.resolve()
    pair = parents_of(work)
    parents = aligned(open_model(str(pair / "father")), open_model(str(pair / "mother")))
    rows, folder, before, told = list(diagnose(*parents, Mri())), work / "health-child", load(), []
    check = partial(examine, parents=parents, rows=rows, mri=Mri(), settings=Health(), tell=lambda done, of: None)
    for child in children():
        write(child, rows, parents, folder)
        table = check(open_model(str(folder)))
        if table.unseen:
            sys.exit(f"health: {folder}: activations were not looked at: {table.unseen}")
        told.append(said(child, table))
        print(told[-1], file=sys.stderr, flush=True)
    shutil.rmtree(folder)
    damaged = [one for one in told if one["damaged"]]
    undamaged = [one for one in told if not one["damaged"]]
    named = sum(list(one["flags"]) == [one["damaged"]] for one in damaged)
    goals = [
        Goal(f"of {len(undamaged)} undamaged: flagged", sum(bool(one["flags"]) for one in undamaged), "at most", 0),
        Goal(f"of {len(damaged)} damaged: that layer named, and no other", named, "at least", len(damaged)),
    ]
    kept = keep(
        given.out,
        {},
        goals,
        versions=versions("darwinmerge", "numpy", "torch", "transformers"),
        load={"before": before, "after": load()},
        children=told,
    )
    print(checked(kept))


if __name__ == "__main__":
    main()
