"""What an adapter does to a tensor's bytes as they are read, a block at a time, the same bits wherever it is cut.

W + (B A) x scale in float32, each operation rounded on its own: the product is summed from the first rank to the last,
then multiplied, then added, and the result is rounded once to the tensor's dtype. A BLAS sums in an order of its own,
which differs between machines, threads and shapes; an element here depends on its row of B and its column of A only.
peft multiplies and adds in the same places, and so differs by the order of the sum, and by one more rounding where it
keeps the change itself in the tensor's dtype.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import DTYPES, convert, narrow, widen
from darwinmerge.checkpoint.files import Bytes, Files, Raw
from darwinmerge.checkpoint.header import TensorInfo


@dataclass(frozen=True)
class Factor:
    """A matrix of an adapter, small enough to be held while a tensor is read."""

    info: TensorInfo
    file: str
    transposed: bool

    def read(self, files: Files) -> NDArray[np.float32]:
        """Its values, exact, in C order."""
        raw = files.stretch(self.file, self.info.start, self.info.stop)[:]
        values = widen(raw.view(DTYPES[self.info.dtype].bits), self.info.dtype).reshape(self.info.shape)
        return np.ascontiguousarray(values.T if self.transposed else values)


@dataclass(frozen=True)
class LowRank:
    """A product of two factors, scaled, that is added."""

    left: Factor  # (rows, rank)
    right: Factor  # (rank, columns)
    scale: float

    def of(self, raw: Bytes, info: TensorInfo, files: Files) -> Bytes:
        """See `Change`."""
        return _Updated(self, raw, info, files)


@dataclass(frozen=True)
class Replaced:
    """Another tensor of the same shape in its place, rounded to the tensor's dtype."""

    info: TensorInfo
    file: str

    def of(self, raw: Bytes, info: TensorInfo, files: Files) -> Bytes:
        """See `Change`."""
        return _Converted(files.stretch(self.file, self.info.start, self.info.stop), self.info.dtype, info.dtype)


class _Converted:
    def __init__(self, raw: Bytes, dtype: str, wanted: str) -> None:
        self._raw, self._dtype, self._wanted = raw, dtype, wanted

    def __getitem__(self, part: slice, /) -> Raw:
        own, given = DTYPES[self._wanted].size, DTYPES[self._dtype]
        found = self._raw[part.start // own * given.size : part.stop // own * given.size].view(given.bits)
        return convert(found, self._dtype, self._wanted).view(np.uint8)


class _Updated:
    def __init__(self, update: LowRank, raw: Bytes, info: TensorInfo, files: Files) -> None:
        self._update, self._raw, self._info, self._files = update, raw, info, files

    @cached_property
    def _factors(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._update.left.read(self._files), self._update.right.read(self._files)

    def __getitem__(self, part: slice, /) -> Raw:
        from darwinmerge.checkpoint.lowrank import add_product  # numba: not for who only looks at headers

        dtype = DTYPES[self._info.dtype]
        values = np.ascontiguousarray(widen(self._raw[part].view(dtype.bits), dtype.name))
        left, right = self._factors
        add_product(values, left, right, np.float32(self._update.scale), part.start // dtype.size)
        return narrow(values, dtype.name).view(np.uint8)
