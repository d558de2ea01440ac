"""A tensor's figures: L2 norm, Shannon entropy of its histogram, standard deviation, and what else one pass gives.

BF16 and F16 have 65,536 values: counting them gives every figure exactly, at memory speed, with no order of
summation to worry about. Other dtypes are summed in float64 over fixed blocks of 65,536 elements combined in
order, so that neither chunks nor threads change a bit; they take a second pass, which needs the mean of the first.

A tensor is measured in pieces, each by one thread and read in blocks: memory is bounded whatever the tensor, and a
large one is read by many threads, which a remote parent needs. The tallies of pieces join to the whole one's, exactly.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import Bits
from darwinmerge.checkpoint.folder import Elements, blocks
from darwinmerge.experiment.manifest import Mri, Score
from darwinmerge.experiment.types import Frozen
from darwinmerge.parallel import cut, in_order

BLOCK = 1 << 16  # elements summed up at a time, where sums have an order
PIECE = 1 << 22  # elements that one thread takes of a tensor measured by itself: whole blocks


class Figures(Frozen):
    """Figures of one tensor of one parent."""

    norm: float = 0.0  # L2
    entropy: float = 0.0  # of the histogram, in the base asked for (bits)
    std: float = 0.0  # unbiased, as torch.std; 0 for one element
    mean: float = 0.0
    min: float = 0.0
    max: float = 0.0
    zeros: int = 0
    non_finite: int = 0  # NaN and infinities; the other figures leave them out

    @property
    def degenerate(self) -> bool:
        """True where there is no distribution to speak of: empty, constant, one element, or not finite."""
        return self.non_finite > 0 or self.std == 0.0

    def score(self, weights: Score) -> float:
        """The published score: entropy x 0.5 + std x 0.3 + min(norm, 100) x 0.002."""
        capped = min(self.norm, weights.norm_cap)
        return self.entropy * weights.entropy + self.std * weights.std + capped * weights.norm


def measure(elements: Elements, settings: Mri, threads: int | None = None) -> Figures:
    """Figures of one tensor, on so many threads (None: all cores)."""
    jobs = (partial(tally_of, elements, part) for part in cut(slice(0, len(elements)), PIECE))
    tally = reduce(lambda earlier, later: earlier.joined(later), in_order(jobs, threads))
    return tally.figures(elements, settings, threads)


class Tally(ABC):
    """What one pass over a tensor, or a piece of it, gives for its figures."""

    @abstractmethod
    def add(self, bits: Bits) -> None:
        """Take in the elements that come next: whole blocks, unless they are the last."""

    @abstractmethod
    def joined(self, later: Self) -> Self:
        """The tally of this piece and the one that follows it, as if they had been one."""

    @abstractmethod
    def figures(self, elements: Elements, settings: Mri, threads: int | None) -> Figures:
        """The figures of the whole tensor, whose elements these are."""


def empty_tally(dtype: str) -> Tally:
    """The tally of no elements."""
    return Counts(dtype) if dtype in ("BF16", "F16") else Sums()


def tally_of(elements: Elements, piece: slice) -> Tally:
    """The tally of a piece, read in blocks."""
    tally = empty_tally(elements.dtype)
    for read in blocks(elements, within=piece):
        tally.add(elements[read])
    return tally


def entropy_of(counts: NDArray[Any], base: float) -> float:
    """Shannon entropy of a histogram; empty bins add nothing."""
    share = counts[counts > 0] / counts.sum()
    return float(-math.fsum(share * np.log(share)) / math.log(base)) + 0.0


def _values_of_patterns(dtype: str) -> NDArray[np.float64]:
    patterns = np.arange(65536, dtype=np.uint32)
    if dtype == "BF16":
        narrow: NDArray[Any] = (patterns << np.uint32(16)).view(np.float32)
    else:
        narrow = patterns.astype(np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):  # signalling NaNs among the patterns
        return narrow.astype(np.float64)


_PATTERNS = {dtype: _values_of_patterns(dtype) for dtype in ("BF16", "F16")}


class Counts(Tally):
    """How often each of the 65,536 values of a 16-bit dtype is there."""

    def __init__(self, dtype: str, counts: NDArray[np.int64] | None = None) -> None:
        """Counts of a dtype's bit patterns; none yet, unless they are given."""
        self._dtype, self._counts = dtype, np.zeros(65536, np.int64) if counts is None else counts

    def add(self, bits: Bits) -> None:
        """See `Tally.add`."""
        from darwinmerge.mri import kernel  # numba: not for those who only plan

        kernel.count_words(np.require(bits.view(np.uint16), np.uint16, ["C", "A"]), self._counts)

    def joined(self, later: Self) -> Self:
        """See `Tally.joined`."""
        return type(self)(self._dtype, self._counts + later._counts)

    def figures(self, elements: Elements, settings: Mri, threads: int | None) -> Figures:
        """See `Tally.figures`; the elements aren't looked at again."""
        from darwinmerge.mri import kernel

        counts, values = self._counts, _PATTERNS[self._dtype]
        n, total, squares, low, high, zeros, non_finite = kernel.moments(counts, values, 0.0).tolist()
        if n == 0:
            return Figures(non_finite=int(non_finite))
        mean = total / n
        found = Figures(
            norm=math.sqrt(squares), mean=mean, min=low, max=high, zeros=int(zeros), non_finite=int(non_finite)
        )
        if low == high:  # of which numpy would make bins of 1 / 256, narrower than large numbers can be
            return found
        deviation = kernel.moments(counts, values, mean)[2]
        edges = np.histogram_bin_edges(np.array([low, high]), settings.bins)
        entropy = entropy_of(kernel.histogram(counts, values, edges), settings.entropy_base)
        return found.model_copy(update={"entropy": entropy, "std": math.sqrt(deviation / (n - 1))})


class Sum(NamedTuple):
    """What one block adds up to, NaN and infinities left out."""

    n: int
    non_finite: int
    total: float
    squares: float
    low: float
    high: float
    zeros: int


class Sums(Tally):
    """Sums of each block of 65,536 elements, in order."""

    def __init__(self, blocks: Sequence[Sum] = ()) -> None:
        """Sums of blocks; none yet, unless they are given."""
        self._blocks = list(blocks)

    def add(self, bits: Bits) -> None:
        """See `Tally.add`."""
        self._blocks += [_sum(block) for block in _blocks(bits)]

    def joined(self, later: Self) -> Self:
        """See `Tally.joined`."""
        return type(self)([*self._blocks, *later._blocks])

    def figures(self, elements: Elements, settings: Mri, threads: int | None) -> Figures:
        """See `Tally.figures`; the elements are read once more, for deviations from the mean and the histogram."""
        n, non_finite = sum(block.n for block in self._blocks), sum(block.non_finite for block in self._blocks)
        if n == 0:
            return Figures(non_finite=non_finite)
        total = squares = deviation = 0.0
        for block in self._blocks:
            total += block.total
            squares += block.squares
        low, high = min(block.low for block in self._blocks), max(block.high for block in self._blocks)
        mean, histogram = total / n, np.zeros(settings.bins, np.int64)
        zeros = sum(block.zeros for block in self._blocks)
        found = Figures(norm=math.sqrt(squares), mean=mean, min=low, max=high, zeros=zeros, non_finite=non_finite)
        if low == high:
            return found
        spread = partial(_spread, elements, mean=mean, edges=(low, high), bins=settings.bins)
        jobs = (partial(spread, piece) for piece in cut(slice(0, len(elements)), PIECE))
        for deviations, counts in in_order(jobs, threads):
            histogram += counts
            for of_block in deviations:
                deviation += of_block
        entropy = entropy_of(histogram, settings.entropy_base)
        return found.model_copy(update={"entropy": entropy, "std": math.sqrt(deviation / (n - 1))})


def _blocks(bits: Bits) -> Iterator[NDArray[np.float64]]:
    for part in cut(slice(0, len(bits)), BLOCK):
        yield bits[part].astype(np.float64)


def _sum(values: NDArray[np.float64]) -> Sum:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Sum(0, len(values), 0.0, 0.0, math.inf, -math.inf, 0)
    return Sum(
        n=len(finite),
        non_finite=len(values) - len(finite),
        total=float(finite.sum()),
        squares=float((finite * finite).sum()),
        low=float(finite.min()),
        high=float(finite.max()),
        zeros=int((finite == 0).sum()),
    )


def _spread(
    elements: Elements, piece: slice, mean: float, edges: tuple[float, float], bins: int
) -> tuple[list[float], NDArray[np.int64]]:
    """Squared deviations from the mean, a sum a block, and the histogram of a piece."""
    deviations, histogram = [], np.zeros(bins, np.int64)
    for read in blocks(elements, within=piece):
        for values in _blocks(elements[read]):
            finite = values[np.isfinite(values)]
            deviations.append(float(((finite - mean) ** 2).sum()))
            histogram += np.histogram(finite, bins, range=edges)[0]
    return deviations, histogram
