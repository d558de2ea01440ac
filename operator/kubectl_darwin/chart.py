"""Fitness by generation in a few characters: best as bars, the better parent as the floor that they stand on; pure."""

from collections.abc import Sequence

from kubectl_darwin.found import Point

BARS = "▁▂▃▄▅▆▇█"
NONE = "·"  # a generation without a score
WIDEST = 60  # generations shown, the last ones


def spark(points: Sequence[Point], floor: float | None) -> list[str]:
    """Two lines: the best of each generation, and the mean; with the range that they span.

    Args:
        points: the generations.
        floor: the better parent's score; bars below it are lowest.
    """
    shown = points[-WIDEST:]
    best, mean = ([getattr(point, name) for point in shown] for name in ("best", "mean"))
    scores = [score for score in (*best, *mean, floor) if score is not None]
    if not any(score is not None for score in best):
        return []
    low, high = min(scores), max(scores)
    lines = [("best", best), ("mean", mean)]
    first = f"generations {shown[0].generation} to {shown[-1].generation}" if len(shown) > 1 else "generation 1"
    beside = f", better parent {floor:.3f}" if floor is not None else ""
    head = f"  fitness     {first}, {low:.3f} to {high:.3f}{beside}"
    bars = {name: "".join(_bar(score, low, high) for score in of) for name, of in lines}
    return [head, *(f"    {name:9} {bars[name]}  {_last(of)}" for name, of in lines)]


def _bar(score: float | None, low: float, high: float) -> str:
    if score is None:
        return NONE
    share = (score - low) / (high - low) if high > low else 1.0
    return BARS[round(share * (len(BARS) - 1))]


def _last(scores: Sequence[float | None]) -> str:
    known = [score for score in scores if score is not None]
    return f"{known[-1]:.3f}" if known else ""
