"""The MRI table: a row a tensor with the figures of both parents, and the prescription they give.

Every tensor of either parent has exactly one row. The table's digest is that of its rows, so it doesn't depend
on the file format that carries them.
"""

import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from darwinmerge.canonical import digest_lines, rounded
from darwinmerge.checkpoint.dtypes import DTYPES, same_bytes
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput
from darwinmerge.experiment.kinds import kind_of, layer_of
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.types import Frozen
from darwinmerge.mri.figures import Figures, measure
from darwinmerge.parallel import in_order

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
    """Rows of the MRI table, in order of names; tensors are measured on all cores.

    Raises:
        BadInput: a tensor has different shapes in the parents.
    """
    yield from in_order(partial(_row, name, father, mother, settings) for name in names_of(father, mother))


def _row(name: str, father: ModelFolder, mother: ModelFolder, settings: Mri) -> TensorRow:
    a = father.info(name) if name in father.tensors else None
    b = mother.info(name) if name in mother.tensors else None
    info = a or b
    assert info is not None
    if a and b and a.shape != b.shape:
        raise BadInput(
            f"tensor {name}: father has shape {a.shape}, mother {b.shape}; parents must be fine-tunes of one base"
        )
    presence: Presence
    if not DTYPES[info.dtype].weight or (b is not None and not DTYPES[b.dtype].weight):
        presence = "not-a-weight"
    elif a is None or b is None:
        presence = "only-in-father" if a else "only-in-mother"
    elif a.dtype == b.dtype and same_bytes(father.bits(name), mother.bits(name)):
        presence = "identical"
    else:
        presence = "both"
    weight = presence != "not-a-weight"
    of_father = _measured(father, name, settings) if a and weight else Figures()
    of_mother = of_father
    if presence in ("both", "only-in-mother"):
        of_mother = _measured(mother, name, settings)
    ratio_b, flag = prescription(of_father, of_mother, settings) if a and b and weight else (0.5, "")
    return TensorRow(
        name=name,
        kind=kind_of(name, settings.kinds),
        layer=layer_of(name),
        shape=info.shape,
        dtype=info.dtype,
        presence=presence,
        only="" if a and b else "father" if a else "mother",
        father=of_father if a else Figures(),
        mother=of_mother if b else Figures(),
        ratio_b=ratio_b,
        flag=flag,
    )


def _measured(folder: ModelFolder, name: str, settings: Mri) -> Figures:
    figures = measure(folder.bits(name), folder.info(name).dtype, settings)
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
