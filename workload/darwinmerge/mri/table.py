"""The MRI table: a row a tensor with the figures of both parents, and the prescription they give.

Every tensor of either parent has exactly one row. The table's digest is that of its rows, so it doesn't depend
on the file format that carries them.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from functools import partial, reduce
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np

from darwinmerge.canonical import digest_lines, rounded
from darwinmerge.checkpoint.dtypes import DTYPES, same_bytes
from darwinmerge.checkpoint.folder import ModelFolder, blocks, threads
from darwinmerge.errors import BadInput
from darwinmerge.experiment.kinds import kind_of, layer_of
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.types import Frozen, Side
from darwinmerge.mri.figures import Figures, Tally, empty_tally, tally_of
from darwinmerge.parallel import cut, in_order

Presence = Literal["both", "identical", "only-in-father", "only-in-mother", "not-a-weight"]


class TensorRow(Frozen):
    """One tensor of the union of both parents."""

    name: str
    kind: str
    layer: str
    shape: tuple[int, ...]  # the same in both parents where both have it
    dtype: str  # Father's where he has it: the child's
    presence: Presence
    only: Literal["", "father", "mother"] = ""  # the one parent that has it
    father: Figures = Figures()
    mother: Figures = Figures()
    ratio_b: float = 0.5  # the prescription: score_b / (score_a + score_b); higher: Mother is better
    flag: Literal["", "degenerate"] = ""

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes in the child."""
        return self.size * DTYPES[self.dtype].size


def prescription(father: Figures, mother: Figures, settings: Mri) -> tuple[float, Literal["", "degenerate"]]:
    """`ratio_b` of a tensor from its figures in both parents, and a flag."""
    degenerate = father.degenerate or mother.degenerate
    a, b = father.score(settings.score), mother.score(settings.score)
    if a + b == 0 or (degenerate and settings.degenerate == "Neutral"):
        return 0.5, "degenerate"
    return rounded(b / (a + b)), "degenerate" if degenerate else ""


def names_of(father: ModelFolder, mother: ModelFolder) -> list[str]:
    """Every tensor of either parent, once, in order of names."""
    return sorted({*father.tensors, *mother.tensors})


def diagnose(father: ModelFolder, mother: ModelFolder, settings: Mri) -> Iterator[TensorRow]:
    """Rows of the MRI table, in order of names; tensors are measured in pieces, on as many threads as pay.

    Every byte of a tensor is read once, and once more where its dtype has more than 16 bits.

    Raises:
        BadInput: a tensor has different shapes in the parents, or a parent changed while it was read.
    """
    pairs = [_Pair(name, father, mother) for name in names_of(father, mother)]
    jobs = (job for pair in pairs for job in pair.jobs(settings))
    with closing(in_order(jobs, threads(father, mother))) as found:
        for pair in pairs:
            if len(pair.pieces) == 1:
                yield next(found)
            else:
                yield pair.row(settings, reduce(_Look.joined, islice(found, len(pair.pieces))))


class _Look(NamedTuple):
    """What one pass over a piece of a tensor gives."""

    tallies: tuple[Tally, ...]  # of Father, of Mother; of the one that has it where only one has
    same: bool  # both have it, and have the same bytes

    def joined(self, later: "_Look") -> "_Look":
        pairs = zip(self.tallies, later.tallies, strict=True)
        return _Look(tuple(one.joined(other) for one, other in pairs), self.same and later.same)


class _Pair:
    """A tensor of either parent, or of both."""

    def __init__(self, name: str, father: ModelFolder, mother: ModelFolder) -> None:
        both: tuple[tuple[Side, ModelFolder], ...] = (("father", father), ("mother", mother))
        self.name = name
        self.holders = {who: folder for who, folder in both if name in folder.tensors}
        self.infos = [folder.info(name) for folder in self.holders.values()]
        if len({info.shape for info in self.infos}) > 1:
            raise BadInput(
                f"tensor {name}: father has shape {self.infos[0].shape}, mother {self.infos[1].shape}; "
                "parents must be fine-tunes of one base"
            )
        self.weight = all(DTYPES[info.dtype].weight for info in self.infos)
        steps = [folder.files.piece // DTYPES[folder.info(name).dtype].size for folder in self.holders.values()]
        self.pieces = cut(slice(0, self.infos[0].size if self.weight else 0), min(steps))

    def jobs(self, settings: Mri) -> list[Callable[[], Any]]:
        """What is to be done: the row itself where there is one piece, else a look at each."""
        if len(self.pieces) == 1:
            return [lambda: self.row(settings, self.look(self.pieces[0]))]
        return [partial(self.look, piece) for piece in self.pieces]

    def look(self, piece: slice) -> _Look:
        """Read a piece once; where it is the same in both, Mother's tally is Father's."""
        elements = [folder.elements(self.name) for folder in self.holders.values()]
        if len(elements) == 1:
            return _Look((tally_of(elements[0], piece),), False)
        one, other = elements
        same = one.dtype == other.dtype
        of_father, of_mother = empty_tally(one.dtype), empty_tally(other.dtype)
        for read in blocks(one, other, within=piece):
            a, b = one[read], other[read]
            if same and not same_bytes(a, b):
                same, of_mother = False, of_mother if read.start == piece.start else deepcopy(of_father)
            of_father.add(a)
            if not same:
                of_mother.add(b)
        return _Look((of_father, of_father if same else of_mother), same)

    def row(self, settings: Mri, look: _Look) -> TensorRow:
        """The table's row, from what all pieces together gave."""
        measured: dict[Side, Figures] = {}
        if self.weight:
            for (who, folder), tally in zip(self.holders.items(), look.tallies, strict=True):
                again = look.same and who == "mother"
                measured[who] = measured["father"] if again else _measured(folder, self.name, tally, settings)
        father, mother = measured.get("father", Figures()), measured.get("mother", Figures())
        ratio_b, flag = prescription(father, mother, settings) if len(measured) == 2 else (0.5, "")
        return TensorRow(
            name=self.name,
            kind=kind_of(self.name, settings.kinds),
            layer=layer_of(self.name),
            shape=self.infos[0].shape,
            dtype=self.infos[0].dtype,
            presence=self._presence(look),
            only="" if len(self.holders) == 2 else next(iter(self.holders)),
            father=father,
            mother=mother,
            ratio_b=ratio_b,
            flag=flag,
        )

    def _presence(self, look: _Look) -> Presence:
        if not self.weight:
            return "not-a-weight"
        if len(self.holders) == 1:
            return "only-in-father" if "father" in self.holders else "only-in-mother"
        return "identical" if look.same else "both"


def _measured(folder: ModelFolder, name: str, tally: Tally, settings: Mri) -> Figures:
    figures = tally.figures(folder.elements(name), settings, folder.files.threads)
    return Figures(**{k: rounded(v) if isinstance(v, float) else v for k, v in figures.model_dump().items()})


def require_finite(rows: Sequence[TensorRow]) -> None:
    """Refuse parents with NaN or infinities in a weight: a merge would carry them into every child.

    Raises:
        BadInput: naming the first such tensor, its parent and how many elements, and how many tensors more.
    """
    broken = [
        (row.name, who, figures.non_finite)
        for row in rows
        for who, figures in (("father", row.father), ("mother", row.mother))
        if figures.non_finite > 0
    ]
    if broken:
        name, who, count = broken[0]
        more = len({name for name, _, _ in broken}) - 1
        raise BadInput(
            f"tensor {name}: {count} of {who}'s elements {'is' if count == 1 else 'are'} NaN or infinite"
            f"{f', and {more} more tensors have such elements' if more else ''}; that checkpoint is broken: download "
            "it again, or take an earlier one of its training"
        )


def spread(rows: Sequence[TensorRow]) -> float:
    """Size-weighted standard deviation of `ratio_b` over the tensors that differ; 0 if none does."""
    differ = [row for row in rows if row.presence == "both" and row.size]
    if not differ:
        return 0.0
    ratios = np.array([row.ratio_b for row in differ])
    sizes = np.array([row.size for row in differ], dtype=np.float64)
    mean = np.average(ratios, weights=sizes)
    return rounded(float(np.sqrt(np.average((ratios - mean) ** 2, weights=sizes))))


def table_digest(rows: Sequence[TensorRow]) -> str:
    """SHA-256 of the rows, in hex."""
    return digest_lines(rows)


def to_parquet(rows: Sequence[Frozen]) -> bytes:
    """Rows as a Parquet file, nested values as structs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows]), sink)
    return sink.getvalue()


def from_parquet(data: bytes, expected: str) -> tuple[TensorRow, ...]:
    """The MRI table in a Parquet file.

    Raises:
        BadInput: it can't be read, or its rows are not those of the digest `expected`.
    """
    import pyarrow.parquet as pq

    try:
        records: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
        rows = tuple(TensorRow.model_validate(record) for record in records)
    except (OSError, ValueError) as error:  # pyarrow's errors and pydantic's are among them
        raise BadInput(f"the stored MRI table can't be read ({type(error).__name__}); it was changed") from None
    if table_digest(rows) != expected:
        raise BadInput(f"the stored MRI table is not the one recorded (digest {expected[:16]}); it was changed")
    return rows
