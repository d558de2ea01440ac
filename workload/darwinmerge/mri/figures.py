"""A tensor's figures: L2 norm, Shannon entropy of its histogram, standard deviation, and what else one pass gives.

BF16 and F16 have 65,536 values: counting them gives every figure exactly, at memory speed, with no order of
summation to worry about. Other dtypes are summed in float64 over fixed blocks of 65,536 elements combined in
order, so that neither chunks nor threads change a bit.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import Bits
from darwinmerge.experiment.manifest import Mri, Score
from darwinmerge.experiment.types import Frozen

BLOCK = 65536


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


def measure(bits: Bits, dtype: str, settings: Mri) -> Figures:
    """Figures of a tensor given as flat elements (BF16 as uint16 bits)."""
    if dtype in ("BF16", "F16"):
        return _by_counting(bits, dtype, settings)
    return _by_blocks(bits, settings)


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


def _by_counting(bits: Bits, dtype: str, settings: Mri) -> Figures:
    from darwinmerge.mri import kernel  # numba: not for those who only plan

    counts, values = np.zeros(65536, dtype=np.int64), _PATTERNS[dtype]
    kernel.count_words(np.require(bits.view(np.uint16), np.uint16, ["C", "A"]), counts)
    n, total, squares, low, high, zeros, non_finite = kernel.moments(counts, values, 0.0).tolist()
    if n == 0:
        return Figures(non_finite=int(non_finite))
    mean = total / n
    deviation = kernel.moments(counts, values, mean)[2] if low != high else 0.0
    edges = np.histogram_bin_edges(np.array([low, high]), settings.bins)
    return Figures(
        norm=math.sqrt(squares),
        entropy=entropy_of(kernel.histogram(counts, values, edges), settings.entropy_base),
        std=math.sqrt(deviation / (n - 1)) if n > 1 else 0.0,
        mean=mean,
        min=low,
        max=high,
        zeros=int(zeros),
        non_finite=int(non_finite),
    )


def _by_blocks(bits: Bits, settings: Mri) -> Figures:
    def blocks() -> Any:
        for start in range(0, len(bits), BLOCK):
            block = bits[start : start + BLOCK].astype(np.float64)
            yield block[np.isfinite(block)]

    n = sum(len(block) for block in blocks())
    non_finite = len(bits) - n
    if n == 0:
        return Figures(non_finite=non_finite)
    total = squares = 0.0
    low, high, zeros = math.inf, -math.inf, 0
    for block in blocks():
        if len(block):
            total += float(block.sum())
            squares += float((block * block).sum())
            low, high = min(low, float(block.min())), max(high, float(block.max()))
            zeros += int((block == 0).sum())
    mean = total / n
    deviation = 0.0
    histogram = np.zeros(settings.bins, dtype=np.int64)
    edges = (low, high)
    for block in blocks():
        deviation += float(((block - mean) ** 2).sum())
        histogram += np.histogram(block, settings.bins, range=edges)[0]
    return Figures(
        norm=math.sqrt(squares),
        entropy=entropy_of(histogram, settings.entropy_base),
        std=math.sqrt(deviation / (n - 1)) if n > 1 and low != high else 0.0,
        mean=mean,
        min=low,
        max=high,
        zeros=zeros,
        non_finite=non_finite,
    )
