"""The chart's alerts: `python -m charts.alerts FILE` writes the rules as Prometheus reads them.

An alert is what is measured, which every healthy run has, and when that is too much: so a test can ask for what is
measured, and an alert that never fires because it measures nothing is found out.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from charts.project import page
from charts.promql import RUN_LABELS, WORKING, in_phase, most, of, total

RUNBOOKS = "docs/operations/runbooks.md"
RUN_NAME = "{{ $labels.namespace }}/{{ $labels.name }}"
OPERATOR_NAME = "{{ $labels.namespace }}/{{ $labels.job }}"
ON_RUN = f"on ({', '.join(RUN_LABELS)})"


class Alert(NamedTuple):
    """A rule, but for its name."""

    measured: str
    when: Callable[[str], str]  # the whole expression, made of what is measured
    lasting: str  # as Prometheus' `for`
    severity: str  # critical: nothing goes on; warning: something doesn't
    summary: str
    description: str
    labels: Mapping[str, str] = {}  # besides the severity
    besides: tuple[str, ...] = ()  # what else the expression asks for, and every healthy run has

    @property
    def expression(self) -> str:
        """As Prometheus evaluates it."""
        return self.when(self.measured)


STALLED = most("darwin_merge_condition", *RUN_LABELS, "reason", type="Stalled", status="True")
IN_WORK = in_phase(*WORKING)
DONE = total("darwin_merge_candidates_total", *RUN_LABELS)
WAITS = most("darwin_merge_pending_seconds", *RUN_LABELS)
LOOKS = total("darwin_operator_reconcile_total", "job", "namespace", over="15m")

ALERTS: Mapping[str, tuple[Alert, ...]] = {
    "DarwinMergeStalled": (
        Alert(
            measured=most("darwin_merge_phase", *RUN_LABELS, phase="Stalled"),
            when=lambda phase: f"{STALLED}\nand {ON_RUN} ({phase} == 1)",
            lasting="10m",
            severity="warning",
            summary=f"{RUN_NAME} stands still: {{{{ $labels.reason }}}}",
            description=(f"The DarwinMerge {RUN_NAME} needs somebody, or time: its condition Stalled says why."),
        ),
    ),
    "DarwinMergeCandidatesRejected": (
        Alert(
            measured=f"{total('darwin_merge_candidates_total', *RUN_LABELS, result='rejected')} / {DONE}",
            when=lambda share: f"{share} > 0.5\nand {ON_RUN} ({DONE} >= 4)\nand {ON_RUN} ({IN_WORK})",
            lasting="1m",
            severity="warning",
            summary=f"{RUN_NAME} rejects most of its candidates",
            description=(
                f"{{{{ $value | humanizePercentage }}}} of the candidates of {RUN_NAME} have no score: "
                "GPU hours that tell the search nothing."
            ),
            besides=(DONE, IN_WORK),
        ),
    ),
    "DarwinMergeQueuedTooLong": (
        Alert(
            measured=WAITS,
            when=lambda waits: f"{waits} > 3600\nunless {ON_RUN} ({in_phase('Stalled')})",
            lasting="5m",
            severity="warning",
            summary=f"{RUN_NAME} waits for a Pod to run",
            description=f"A Job of {RUN_NAME} has waited for {{{{ $value | humanizeDuration }}}}, for quota or a node.",
        ),
    ),
    "DarwinMergeNoProgress": (
        Alert(
            measured=f"time() - {most('darwin_merge_last_progress_timestamp_seconds', *RUN_LABELS)}",
            # five hours more: a run that goes on after days of being held has as long as any other
            when=lambda since: f"{since} > 3600\nand {ON_RUN} ({IN_WORK})",
            lasting="5h",
            severity="warning",
            summary=f"{RUN_NAME} works, and nothing comes of it",
            description=f"The last result of {RUN_NAME} came home {{{{ $value | humanizeDuration }}}} ago.",
            besides=(IN_WORK,),
        ),
    ),
    "DarwinOperatorDown": (
        Alert(
            measured=of("darwin_operator_build_info"),
            when=lambda there: f"absent({there})",
            lasting="5m",
            severity="critical",
            summary="No Darwin operator is there",
            description="Prometheus reads no operator's metrics: no DarwinMerge goes on, and none is told about.",
        ),
    ),
    "DarwinOperatorStuck": (
        Alert(
            measured=most("darwin_operator_queue_lag_seconds", "job", "namespace"),
            when=lambda lag: f"{lag} > 300",
            lasting="5m",
            severity="critical",
            summary=f"{OPERATOR_NAME} doesn't keep up",
            description="A run that is due has not been looked at for {{ $value | humanizeDuration }}.",
            labels={"part": "queue"},
        ),
        Alert(
            measured=most("darwin_operator_watch_age_seconds", "job", "namespace", "resource"),
            when=lambda age: f"{age} > 600",
            lasting="5m",
            severity="critical",
            summary=f"{OPERATOR_NAME} no longer hears of {{{{ $labels.resource }}}}",
            description=(
                "Nothing has been heard for {{ $value | humanizeDuration }} by a watch, which begins anew every 4 min."
            ),
            labels={"part": "watch"},
        ),
        Alert(
            measured=(f"{total('darwin_operator_reconcile_errors_total', 'job', 'namespace', over='15m')} / {LOOKS}"),
            when=lambda share: f"{share} > 0.5",
            lasting="15m",
            severity="critical",
            summary=f"{OPERATOR_NAME} fails at most of what it looks at",
            description="{{ $value | humanizePercentage }} of its looks at runs fail, and are repeated.",
            labels={"part": "errors"},
            besides=(LOOKS,),
        ),
    ),
}
HEALTHY_WITHOUT = (STALLED,)  # what an alert asks for, and no healthy run has: tests make a run that has it


def rules() -> dict[str, Any]:
    """As in a file of rules, and in the spec of a PrometheusRule."""
    groups: dict[str, list[dict[str, Any]]] = {"darwin-runs": [], "darwin-operator": []}
    for name, alerts in ALERTS.items():
        group = groups["darwin-operator" if name.startswith("DarwinOperator") else "darwin-runs"]
        group += [
            {
                "alert": name,
                "expr": alert.expression,
                "for": alert.lasting,
                "labels": {"severity": alert.severity, **alert.labels},
                "annotations": {
                    "summary": alert.summary,
                    "description": alert.description,
                    "runbook_url": f"{page(RUNBOOKS)}#{name.lower()}",
                },
            }
            for alert in alerts
        ]
    return {"groups": [{"name": name, "rules": found} for name, found in groups.items()]}


class Lines(yaml.SafeDumper):
    """Expressions of several lines stand in several lines."""


def _string(dumper: yaml.SafeDumper, string: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", string, style="|" if "\n" in string else None)


Lines.add_representer(str, _string)


def text() -> str:
    """The file."""
    return "# Made by `make docs` from charts/alerts.py.\n" + yaml.dump(
        rules(), Dumper=Lines, sort_keys=False, width=999
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
