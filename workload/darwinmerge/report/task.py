"""The report, left in the store after each generation, so that it can be read while the run goes, and at the end.

It is a view. What goes wrong in drawing it is told, and stops no run.
"""

from collections.abc import Callable

from darwinmerge.errors import DarwinError, ExitCode
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import noted, recorded
from darwinmerge.pipeline.known import Results
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import ReportSummary
from darwinmerge.store import Ref, Store, layout


def report(place: Place) -> tuple[ReportSummary, tuple[Ref, ...]]:
    """Draw the report of what the store holds."""

    def known() -> tuple[Experiment, Results]:
        return noted(place.store), recorded(place.store)

    return _drawn(known, place.store), ()


def draw(experiment: Experiment, results: Results, store: Store) -> ReportSummary:
    """Draw the report of a run as far as it is.

    Raises:
        StoreUnreachable: another attempt may succeed.
    """
    return _drawn(lambda: (experiment, results), store)


def _drawn(known: Callable[[], tuple[Experiment, Results]], store: Store) -> ReportSummary:
    try:
        from darwinmerge.report.page import page

        store.replace(layout.REPORT, page(*known(), store).encode())
    except Exception as error:
        if isinstance(error, DarwinError) and error.code == ExitCode.STORE_UNREACHABLE:
            raise
        return ReportSummary(problem=f"{type(error).__name__}: {error}"[:300])
    return ReportSummary()
