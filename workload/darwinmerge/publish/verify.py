"""Whether a child is what `darwin.json` beside it says: everything that the record tells is found out anew.

A child is a pure function of its parents and its recipe, and so can be proved without trusting whoever made it: its
files are hashed, its parents too, the diagnosis and the recipe are computed again, and the merge is done again, tensor
by tensor in memory, and held against the child's own bits. No model is written. Each check is made whatever the ones
before it found, unless it would be about other parents, or about a recipe that these parents can't follow. Other
parents than the record's say nothing of the child: they are no failure of it. Nor does the record say anything of a
model card and of what else lies beside the child, so that these files are named, and not vouched for.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar

import numpy as np

from darwinmerge.checkpoint.adapter import CONFIG
from darwinmerge.checkpoint.dtypes import DTYPES, Bits, same_bytes
from darwinmerge.checkpoint.folder import INDEX, ModelFolder, threads
from darwinmerge.checkpoint.pair import aligned, aligned_base, same
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.arithmetic import child_info, merged_tensors
from darwinmerge.merge.overrides import overriding
from darwinmerge.merge.recipe import Decision, Recipe, child_recipe
from darwinmerge.mri.table import TensorRow, diagnose, names_of, table_digest
from darwinmerge.publish.record import Record
from darwinmerge.store.layout import CHILD_RECORD

T = TypeVar("T")
State = Literal["ok", "FAILED", "not checked", "unrecorded"]
PARENTS = "parents"
WEIGHTS = ".safetensors"
LOADED = (WEIGHTS, ".bin", ".pt", ".pth", ".py", "adapter_config.json")  # a loader may take such a file for the model's


class Check(Frozen):
    """One thing that a record says, and whether it is so."""

    name: str
    state: State
    found: str


class Follow(Protocol):
    """Passes things on as they come, and shows how far that is."""

    def __call__(self, things: Iterable[T], what: str, total: int) -> Iterator[T]:
        """The same things."""


def checks(
    child: ModelFolder, parents: tuple[ModelFolder, ...], record: Record, quick: bool, follow: Follow
) -> Iterator[Check]:
    """The checks of a child, as they are made; `quick` leaves out those that diagnose and merge again.

    `parents`: Father, Mother and, where the record has one, the base.
    """
    yield _files(child, record, follow)
    yield _side_files(child, record)
    yield from _others(child, record)
    yield (right := _parents(parents, record, follow))
    if right.state != "ok":
        yield from _left_out(("accounts", "diagnosis", "recipe", "weights"), "these are not its parents")
        return
    father, mother = aligned(*parents[:2])
    base = tuple(aligned_base(folder, father, mother) for folder in parents[2:])
    yield (fitting := _accounts(record, father, mother, follow))
    if quick:
        yield from _left_out(("diagnosis",), "left out by --quick")
        yield _recipe_by_name(record, "left out by --quick")
        yield from _left_out(("weights",), "left out by --quick")
        return
    yield from _origin(record, father, mother, follow)
    if fitting.state == "FAILED":
        yield from _left_out(("weights",), "the recipe is not one for these parents")
    else:
        yield _weights(child, record.recipe, (father, mother, *base), follow)


def _files(child: ModelFolder, record: Record, follow: Follow) -> Check:
    there = child.files.sizes
    held = {located.file for located in child.tensors.values()}  # which the record must name, and no others
    wrong = [f"{name} is missing" for name in record.files if name not in there]
    wrong += [f"{name} is not recorded" for name in sorted(held - record.files.keys())]
    named = [name for name in record.files if name in there]
    for name in follow(named, "hashing the child", len(named)):
        if child.files.sha256(name) != record.files[name]:
            wrong.append(f"{name} was changed")
    strange = [name for name in there if name.endswith(LOADED) and name not in held]
    wrong += [f"{name} is no part of the child" for name in strange]
    return _check("files", wrong, f"SHA-256 of {_count(len(named), 'weight file')} as recorded")


def _side_files(child: ModelFolder, record: Record) -> Check:
    """Config, tokenizer and chat template are Father's."""
    none = (WEIGHTS, INDEX, CONFIG)  # the last: Father is an adapter, and the child is none
    his = {name: sha for name, sha in record.father.items() if not name.endswith(none)}
    own = {name: child.files.sha256(name) for name in child.side_files()}
    wrong = [f"{name} is not Father's" for name in sorted({*his, *own}) if his.get(name) != own.get(name)]
    return _check("config", wrong, f"{', '.join(sorted(own))}: Father's")


def _others(child: ModelFolder, record: Record) -> Iterator[Check]:
    """Files that neither the record nor a loader knows; the model card is one."""
    known = {*record.files, *child.side_files(), INDEX, CHILD_RECORD}
    names = [name for name in child.files.sizes if name not in known and not name.endswith(LOADED)]
    if names:
        found = f"{', '.join(sorted(names))}: no part of the record, and not checked"
        yield Check(name="others", state="unrecorded", found=found)


def _parents(parents: tuple[ModelFolder, ...], record: Record, follow: Follow) -> Check:
    wrong, others = [], []  # of the record, and of what was given
    named = list(zip(("father", "mother", "base"), parents, strict=False))
    for who, folder in follow(named, "hashing the parents", len(named)):
        recorded, found = getattr(record, who), folder.file_digests
        pins = {getattr(record.pins, who), getattr(record.recipe, who)} - ({""} if who == "base" else set())
        differing = [name for name in sorted({*recorded, *found}) if recorded.get(name) != found.get(name)]
        if differing:
            others.append(f"{who} {folder} is not the one recorded: {', '.join(differing[:3])} differs")
        elif pins != {folder.pin}:
            wrong.append(f"{who}'s pin is {folder.pin[:16]}, recorded {' and '.join(pin[:16] for pin in sorted(pins))}")
    pins_text = ", ".join(f"{who} {getattr(record.pins, who)[:16]}" for who, _ in named)
    if others and not wrong:
        return Check(name=PARENTS, state="not checked", found="; ".join(others))
    return _check(PARENTS, wrong, f"the ones recorded: {pins_text}")


def _accounts(record: Record, father: ModelFolder, mother: ModelFolder, follow: Follow) -> Check:
    """Every tensor of both parents is accounted for, once, by what it is."""
    decided = {decision.name: decision for decision in record.recipe.decisions}
    names = names_of(father, mother)
    wrong = [f"{name} is in neither parent" for name in sorted(decided.keys() - names)]
    for name in follow(names, "comparing the parents", len(names)):
        if name not in decided:
            wrong.append(f"{name} has no account")
        elif not _fits(decided[name], record.recipe, father, mother):
            wrong.append(f"{name} is recorded as {decided[name].account}, and is not that")
    if len(decided) != len(record.recipe.decisions):
        wrong.append("a tensor has two accounts")
    if record.accounts != record.recipe.accounts():
        wrong.append("the numbers are not those of the recipe")
    counts = ", ".join(f"{count} {account}" for account, count in record.accounts.items())
    return _check("accounts", wrong, f"{counts}: all {len(names)} tensors of both parents")


def _fits(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> bool:
    """Whether an account is one that the tensor's headers and bytes allow."""
    name, account = decision.name, decision.account
    holders = [folder for folder in (father, mother) if name in folder.tensors]
    if account != "merged" and (mother if decision.source == "mother" else father) not in holders:
        return False
    infos = [folder.info(name) for folder in holders]
    if not all(DTYPES[info.dtype].weight for info in infos):
        return account == "not-a-weight"
    if len(holders) == 1:
        return account == ("only-in-father" if holders[0] is father else "only-in-mother")
    alike = infos[0].dtype == infos[1].dtype
    if alike and same(father.elements(name), mother.elements(name), threads(father, mother)):
        return account == "identical"
    if account == "merged":
        return 0 < recipe.density_of(decision) <= 1 and 0 < recipe.density_a_of(decision) <= 1
    return account in ("transplanted-father", "transplanted-mother")


def _origin(record: Record, father: ModelFolder, mother: ModelFolder, follow: Follow) -> Iterator[Check]:
    """The diagnosis gives the recorded table, and this, with the genome, the recorded recipe."""
    if record.mri is None:
        reason = f"Darwin {record.version} did not note how it diagnosed the parents"
        yield from _left_out(("diagnosis",), reason)
        yield _recipe_by_name(record, reason)
        return
    rows = list(follow(diagnose(father, mother, record.mri), "diagnosing", len(names_of(father, mother))))
    table = table_digest(rows)
    wrong = [] if table == record.table else [f"the MRI table is {table[:16]}, recorded is {record.table[:16]}"]
    yield _check("diagnosis", wrong, f"MRI table {table[:16]} as recorded")
    wrong = _misnamed(record) + _differences(record.recipe, _recipe(record, rows))
    yield _check("recipe", wrong, f"{record.recipe_id[:16]}, as it follows from genome, table and seed")


def _misnamed(record: Record) -> list[str]:
    return [] if record.recipe.id == record.recipe_id else [f"its id is {record.recipe.id}, not {record.recipe_id}"]


def _recipe_by_name(record: Record, reason: str) -> Check:
    """All that can be said of a recipe that isn't computed again."""
    wrong = _misnamed(record)
    return _check("recipe", wrong, "") if wrong else Check(name="recipe", state="not checked", found=reason)


def _recipe(record: Record, rows: Sequence[TensorRow]) -> Recipe:
    seed = record.recipe.seed  # 0 where nothing is drawn, whatever the experiment's
    change = overriding(record.overrides, record.mixing.merge.method)
    return child_recipe(rows, record.genome, record.pins, record.mixing, seed, change)


def _differences(recorded: Recipe, again: Recipe) -> list[str]:
    found = [
        f"{name} is {getattr(recorded, name)}, recomputed {getattr(again, name)}"
        for name in Recipe.model_fields
        if name != "decisions" and getattr(recorded, name) != getattr(again, name)
    ]
    computed = {decision.name: decision for decision in again.decisions}
    for decision in recorded.decisions:
        other = computed.get(decision.name)
        if decision != other:
            found.append(f"{decision.name} is {_said(decision)}, recomputed {_said(other) if other else 'nothing'}")
    if len(recorded.decisions) < len(again.decisions):
        found.append("tensors are missing")
    return found


def _said(decision: Decision) -> str:
    if decision.account != "merged":
        return decision.account
    return f"merged at {decision.ratio:g}" + (f", density {decision.density:g}" if decision.density is not None else "")


def _weights(child: ModelFolder, recipe: Recipe, parents: tuple[ModelFolder, ...], follow: Follow) -> Check:
    """The merge, done again, gives the child's tensors, bit for bit."""
    father, mother = parents[:2]
    decisions = {decision.name: decision for decision in recipe.decisions}
    wrong = [f"{name} is missing" for name in decisions if name not in child.tensors]
    wrong += [f"{name} is no tensor of the recipe" for name in child.tensors if name not in decisions]
    alike = []
    for name, decision in decisions.items():
        if name in child.tensors:
            own, due = child.info(name), child_info(decision, recipe, father, mother)
            if (own.dtype, own.shape) == (due.dtype, due.shape):
                alike.append(decision)
            else:
                wrong.append(f"{name} is {own.dtype} {own.shape}, not {due.dtype} {due.shape}")
    pairs = zip(merged_tensors(alike, recipe, *parents), child.whole(d.name for d in alike), strict=True)
    for decision, ((made, _), stored) in zip(alike, follow(pairs, "merging again", len(alike)), strict=True):
        if not same_bytes(made, stored):
            wrong.append(f"{decision.name} differs in {_unequal(made, stored)} of {len(stored)} elements")
    return _check("weights", wrong, f"merged again, all {len(alike)} tensors are the child's, bit for bit")


def _unequal(a: Bits, b: Bits) -> int:
    """Elements that differ in a bit: NaN equals itself, and -0 is not 0."""
    size = a.dtype.itemsize
    return int(np.any(a.view(np.uint8).reshape(-1, size) != b.view(np.uint8).reshape(-1, size), axis=1).sum())


def _check(name: str, wrong: Sequence[str], right: str) -> Check:
    more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return Check(name=name, state="FAILED" if wrong else "ok", found=wrong[0] + more if wrong else right)


def _left_out(names: Iterable[str], reason: str) -> Iterator[Check]:
    return (Check(name=name, state="not checked", found=reason) for name in names)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
