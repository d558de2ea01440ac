"""The arithmetic of a merge, in the order that makes it the same everywhere.

float32, each operation rounded on its own: d = B - A; d = d x coefficient; C = A + d where the mask keeps, else
A; one rounding to the output dtype. No fused multiply-add and no lerp: they change one bit in a hundred. The
kernel fuses mask and arithmetic over BF16 bits; `reference` is the same in numpy, for all dtypes, and the tests
hold the two equal. That is DareTies without a base, and Linear, which is the same at density 1; of any other method
(`darwinmerge.merge.methods`) the formula is computed by `darwinmerge.merge.combine`. A tensor is cut into blocks, each
read and merged by one thread of many; masks go by index, so the cuts don't show.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, convert, narrow, widen
from darwinmerge.checkpoint.folder import Elements, ModelFolder, blocks, threads
from darwinmerge.checkpoint.header import TensorInfo
from darwinmerge.errors import BadInput
from darwinmerge.merge import mask
from darwinmerge.merge.combine import combine
from darwinmerge.merge.drawn import UNKNOWN, Draws, Known
from darwinmerge.merge.kernel import merge_bf16, words
from darwinmerge.merge.methods import METHODS
from darwinmerge.merge.methods.method import Drawn
from darwinmerge.merge.methods.whole import Whole
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.merge.source import source_reference
from darwinmerge.parallel import in_groups


def reference(
    a: Bits,
    b: Bits,
    dtypes: tuple[str, str],
    coefficient: np.float32,
    key: tuple[int, int],
    keep_below: int,
    start: int,
    out: str | None = None,
) -> Bits:
    """Elements of a merged tensor in numpy, in the dtype `out` (None: Father's).

    `a`, `b` are the parents' elements, of `dtypes`, from flat index `start` on.
    """
    out = out or dtypes[0]
    wide_a, wide_b = widen(a, dtypes[0]), widen(b, dtypes[1])
    with np.errstate(invalid="ignore", over="ignore"):
        delta = wide_b - wide_a
        delta = delta * coefficient
        moved = narrow(wide_a + delta, out)
    if keep_below == 2**32:
        return moved
    return np.where(mask.kept(start, start + len(a), key, keep_below), moved, convert(a, dtypes[0], out))


Job = Callable[[], Bits]
Block = Callable[[slice, Bits | None], Bits]  # elements of the child, put where they are to lie, if that is told
FUSED = ("DareTies", "Linear")  # methods that, without a base, are `reference`


def child_info(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> TensorInfo:
    """Dtype, shape and size of the child's tensor: Father's where he has it, whatever it is made of."""
    first, other = (mother, father) if recipe.dtype == "Mother" else (father, mother)
    info = (first if decision.name in first.tensors else other).info(decision.name)
    if recipe.dtype != "bfloat16" or not DTYPES[info.dtype].weight:
        return info
    return replace(info, dtype="BF16", stop=info.start + info.size * DTYPES["BF16"].size)


def jobs(
    decision: Decision,
    recipe: Recipe,
    father: ModelFolder,
    mother: ModelFolder,
    base: ModelFolder | None = None,
    into: Bits | None = None,
    draws: Draws | None = None,
) -> list[Job]:
    """The child's tensor, flat, in jobs of a block each, at least one, which read what they need of the parents.

    It is merged, or copied from the parent that the decision names. What a method has to know of the whole tensor is
    found here, before the first job. Each job gives its block; with `into`, the tensor's elements, it is put there.
    What is drawn at random may be known by `draws`, or is kept there.

    Raises:
        BadInput: the recipe has a base, and it isn't given, or lacks the tensor.
    """
    name, out = decision.name, child_info(decision, recipe, father, mother).dtype
    if draws is not None:
        draws.begin(name)
    if decision.account != "merged":
        source = mother if decision.source == "mother" else father
        copied, dtype = source.elements(name), source.info(name).dtype

        def copy(part: slice, place: Bits | None) -> Bits:
            return _put(np.ascontiguousarray(convert(copied[part], dtype, out)), place)

        return _placed(copy, blocks(copied), into)
    a, b = father.elements(name), mother.elements(name)
    if recipe.base or recipe.method not in FUSED:

        def drawn(who: str, keep: Drawn) -> Known:
            return draws.of(name, who, keep.key, len(a)) if draws else UNKNOWN

        whole = Whole(a, b, _of_base(decision, recipe, base), threads(father, mother), drawn)
        return _placed(_planned(whole, decision, recipe, out), blocks(*whole.given), into)
    dtypes = father.info(name).dtype, mother.info(name).dtype
    coefficient = np.float32(recipe.coefficient(decision))
    key = mask.key_of(recipe.seed, "b", name)
    keep_below = mask.threshold(recipe.density_of(decision))
    fused = {*dtypes, out} == {"BF16"} and recipe.arithmetic != "Source"
    high, known = draws.of(name, "b", key, len(a)) if draws and fused and keep_below < 2**32 else UNKNOWN

    def block(part: slice, place: Bits | None) -> Bits:
        of_a, of_b, start = a[part], b[part], part.start
        if recipe.arithmetic == "Source":
            kept = mask.kept(start, start + len(of_a), key, keep_below)
            return _put(source_reference(of_a, of_b, dtypes, coefficient, kept, out), place)
        if not fused:
            return _put(reference(of_a, of_b, dtypes, coefficient, key, keep_below, start, out), place)
        child = np.empty(len(of_a), np.uint16) if place is None else place
        held = (words(x, "BF16", narrow=True) for x in (of_a, of_b))
        merge_bf16(*held, child, coefficient, *key, keep_below, start, high[start : start + len(of_a)], known)
        return child

    return _placed(block, blocks(a, b), into)


def _placed(block: Block, parts: Sequence[slice], into: Bits | None) -> list[Job]:
    return [partial(block, part, None if into is None else into[part]) for part in parts]


def _put(bits: Bits, place: Bits | None) -> Bits:
    if place is None:
        return bits
    place[:] = bits
    return place


def _planned(whole: Whole, decision: Decision, recipe: Recipe, out: str) -> Block:
    """A block of a merged tensor, by its method's formula."""
    method = METHODS[recipe.method]
    plan = method.plan(recipe.terms(decision), whole)
    dtypes = whole.a.dtype, whole.b.dtype, whole.given[-1].dtype
    known_a, known_b = (
        whole.known(who, keep) if isinstance(keep, Drawn) else UNKNOWN
        for who, keep in (("a", plan.keep_a), ("b", plan.keep_b))
    )

    def block(part: slice, place: Bits | None) -> Bits:
        base = None if whole.base is None else whole.base[part]
        known = (known_a[0][part], known_a[1]), (known_b[0][part], known_b[1])
        child = np.empty(part.stop - part.start, DTYPES[out].bits) if place is None else place
        combine((whole.a[part], whole.b[part], base), dtypes, method, plan, part.start, (child, out), known)
        return child

    return block


def _of_base(decision: Decision, recipe: Recipe, base: ModelFolder | None) -> Elements | None:
    if not recipe.base:
        return None
    if base is None:
        raise BadInput(f"recipe {recipe.id[:16]} moves from a base (pin {recipe.base[:16]}), and none is given")
    if decision.name not in base.tensors:
        raise BadInput(f"tensor {decision.name}: base {base} lacks it, so that there is nothing to move from")
    return base.elements(decision.name)


def merged_tensors(
    decisions: Sequence[Decision],
    recipe: Recipe,
    father: ModelFolder,
    mother: ModelFolder,
    base: ModelFolder | None = None,
    *,
    into: Mapping[str, Bits] | None = None,
    draws: Draws | None = None,
) -> Iterator[tuple[Bits, str]]:
    """The child's tensors, flat, and their dtypes, one after the other; the next ones are merged meanwhile.

    Those that `into` has by name are put there, and nowhere else.
    """
    places = into or {}
    work = (jobs(decision, recipe, father, mother, base, places.get(decision.name), draws) for decision in decisions)
    for decision, found in zip(decisions, in_groups(work, threads(father, mother)), strict=True):
        place = places.get(decision.name)
        bits = np.concatenate(found) if place is None else place
        if draws is not None:
            draws.are_known(decision.name)
        yield bits, child_info(decision, recipe, father, mother).dtype
