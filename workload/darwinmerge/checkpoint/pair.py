"""Two parents made to speak of their tensors by the same names: Father's.

Everything after this (diagnosis, recipe, merge, export) goes by name over the union of both parents. So what is
one tensor must have one name, and what is no tensor of its own must have none:

- A prefix may differ (`darwinmerge.checkpoint.names`). Mother's tensor takes Father's name where exactly one
  spelling of it is Father's and nothing else of hers has or wants that name; otherwise it keeps its own.
- Where the config ties the output head to the embedding, a stored `lm_head.weight` that equals its embedding is
  the embedding again, and goes from both views. Merged by itself it would get a mask of its own: a child with a
  head that isn't its embedding, which transformers then loads untied, unlike the child that was scored.

Views cost nothing, and keep the folder's files, digests and pin.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

from darwinmerge.checkpoint.dtypes import same_bytes
from darwinmerge.checkpoint.folder import Elements, ModelFolder, blocks, threads
from darwinmerge.checkpoint.names import is_embedding, is_head, spellings
from darwinmerge.errors import BadInput
from darwinmerge.parallel import in_order


def aligned(father: ModelFolder, mother: ModelFolder) -> tuple[ModelFolder, ModelFolder]:
    """Views of both parents whose tensors are keyed by Father's names, tied output heads left out.

    Raises:
        BadInput: the embeddings are tied, and one parent has a head that isn't its embedding where the other has
            none, or has its embedding there.
    """
    dropped = _tied_heads(father, mother)
    hers = [name for name in mother.tensors if name not in dropped["mother"]]
    his = [name for name in father.tensors if name not in dropped["father"]]
    return father.view({name: name for name in his}), mother.view(renamed(hers, his))


def aligned_base(base: ModelFolder, father: ModelFolder, mother: ModelFolder) -> ModelFolder:
    """A view of the base whose tensors are keyed by the names that they have in `father` and `mother`, aligned views.

    What neither parent has isn't in it: no merge asks for it.
    """
    wanted = {*father.tensors, *mother.tensors}
    return base.view({name: own for name, own in renamed(base.tensors, wanted).items() if name in wanted})


def renamed(hers: Collection[str], his: Collection[str]) -> dict[str, str]:
    """Mother's names by the names they get: Father's where an alias makes them match, else their own."""
    fathers, mothers = frozenset(his), frozenset(hers)
    wanted: dict[str, str] = {}
    for name in mothers - fathers:
        fitting = [other for other in spellings(name) if other in fathers - mothers]
        if len(fitting) == 1:
            wanted[name] = fitting[0]
    claims = Counter(wanted.values())
    return {wanted[name] if claims[wanted.get(name, "")] == 1 else name: name for name in sorted(mothers)}


def declares_tying(config: Mapping[str, object]) -> bool | None:
    """Whether the config ties the head to the embedding; None where it doesn't say, and its class decides."""
    text = config.get("text_config")
    within = text.get("tie_word_embeddings") if isinstance(text, Mapping) else None
    declared = config.get("tie_word_embeddings", within)
    return declared if isinstance(declared, bool) else None


def _tied_heads(father: ModelFolder, mother: ModelFolder) -> dict[str, set[str]]:
    """Names of the heads that are their folder's embedding again, by parent."""
    none: dict[str, set[str]] = {"father": set(), "mother": set()}
    heads = {who: _head(folder) for who, folder in (("father", father), ("mother", mother))}
    says = [declares_tying(folder.config) for folder in (father, mother)]
    # Father's config becomes the child's: without its word a child that has no head might be half a model.
    if False in says or not any(heads.values()) or (says[0] is None and heads["father"]):
        return none
    own = [
        (who, folder)
        for who, folder in (("father", father), ("mother", mother))
        if heads[who] and not repeats_embedding(folder, heads[who])
    ]
    if len(own) == 2 or (own and True not in says):
        return none  # tensors as others: both belie their config in the same way, or no config speaks of tying
    for who, folder in own:
        other = "mother" if who == "father" else "father"
        raise BadInput(
            f"tensor {heads[who]}: {who} {folder} has an output head of its own, though the embeddings are tied "
            f"(tie_word_embeddings) and {other}'s is the embedding; take parents that are both tied, or both not"
        )
    return {who: {head} if head else set() for who, head in heads.items()}


def _head(folder: ModelFolder) -> str:
    return next((name for name in folder.tensors if is_head(name)), "")


def repeats_embedding(folder: ModelFolder, head: str) -> bool:
    """Whether a folder's tensor `head` is its embedding again."""
    for name in filter(is_embedding, folder.tensors):
        a, b = folder.info(head), folder.info(name)
        alike = (a.dtype, a.shape) == (b.dtype, b.shape)
        if alike and same(folder.elements(head), folder.elements(name), threads(folder)):
            return True
    return False


def same(a: Elements, b: Elements, threads: int) -> bool:
    """Whether two tensors of one size have the same bytes; read in blocks, up to the first that differs."""
    jobs = (partial(_same_part, a, b, part) for part in blocks(a, b))
    return all(in_order(jobs, threads))


def _same_part(a: Elements, b: Elements, part: slice) -> bool:
    return same_bytes(a[part], b[part])
