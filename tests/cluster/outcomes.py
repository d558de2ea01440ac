"""What tests in a cluster leave in build/ for people to read, and the table of faults among it.

That one tells what became of the run, how long it took, how often the API server was asked meanwhile. A test records
what it has counted by pytest's `record_property`; the table is printed at the end, too.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"
COLUMNS = {"requests": "requests", "most": "most in a minute", "struck": "of them befallen", "told": "besides"}
MOST_IN_A_MINUTE = 300  # requests that one run may cost an operator, whatever befalls it
HEAD = ["fault", "outcome", "seconds", *COLUMNS.values()]


def most_in_a_minute(times: Sequence[float]) -> int:
    """The most of these moments, in seconds and in order, that lie within a minute."""
    most, first = 0, 0
    for last, when in enumerate(times):
        while when - times[first] > 60:
            first += 1
        most = max(most, last - first + 1)
    return most


@dataclass
class Asked:
    """What operators of a namespace ask of the API server from now on, if there is an audit log."""

    namespace: str
    log: str = field(default_factory=lambda: os.environ.get("DARWIN_TEST_AUDIT_LOG", ""))
    most: int | None = None  # as long as nothing is counted, or nothing can be

    def __post_init__(self) -> None:
        self._begin = Path(self.log).stat().st_size if self.log else 0

    def counted(self) -> dict[str, object]:
        """How many requests, and the most of them in a minute; without a log, that they weren't counted."""
        if not self.log:
            return {"requests": "not counted: DARWIN_TEST_AUDIT_LOG is not set"}
        times = []
        with Path(self.log).open() as log:
            log.seek(self._begin)
            for line in log:
                entry = json.loads(line)
                user = entry["user"]["username"]
                if user.startswith(f"system:serviceaccount:{self.namespace}:") and user.endswith("-darwin-operator"):
                    times.append(datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp())
        self.most = most_in_a_minute(sorted(times))
        return {"requests": len(times), "most": self.most}


def table(reports: Iterable[pytest.TestReport]) -> str:
    """A line a fault, in Markdown; empty where no test has counted anything."""
    befallen = []
    for report in reports:
        told = dict(report.user_properties)
        if told and report.when == "call":
            fault = report.nodeid.partition("[")[2].rstrip("]")
            counted = [str(told.get(name, "")) for name in COLUMNS]
            befallen.append([fault, report.outcome, f"{report.duration:.0f}", *counted])
    return rows(HEAD, befallen)


def rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; empty where there is no line for it."""
    shown = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in ([head, ["---"] * len(head), *shown] if lines else []))


def keep(name: str, text: str) -> None:
    """Leave a file in build/."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / name).write_text(text)
