"""The names of all metrics: the one place that collectors, dashboards, alerts and docs take them from."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from darwinmerge.experiment.types import Frozen


class Metric(Frozen):
    """A metric as Prometheus has it; never with a candidate, a genome or a layer as a label."""

    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()  # of a run's, besides `namespace` and `name`


RUN: Mapping[str, Metric] = {
    "darwin_merge_info": Metric(kind="gauge", help="A DarwinMerge: 1.", labels=("father", "mother", "algorithm")),
    "darwin_merge_phase": Metric(kind="gauge", help="1 for the phase that it is in, else 0.", labels=("phase",)),
    "darwin_merge_condition": Metric(
        kind="gauge", help="1 for each condition as it stands.", labels=("type", "status", "reason")
    ),
    "darwin_merge_created_timestamp_seconds": Metric(kind="gauge", help="When it was created, since 1970."),
    "darwin_merge_generation": Metric(kind="gauge", help="The generation that is evolved; 0 before the first."),
    "darwin_merge_generations": Metric(kind="gauge", help="Generations wanted: spec.evolution.steps."),
    "darwin_merge_fitness": Metric(
        kind="gauge",
        help="Scores on search rows of the last finished generation, within 0..1; stat: best, mean, median, min, max.",
        labels=("stat",),
    ),
    "darwin_merge_best_fitness": Metric(kind="gauge", help="The best candidate's score on search rows so far."),
    "darwin_merge_parent_fitness": Metric(
        kind="gauge", help="Scores on search rows of father, mother and linear, the plain average.", labels=("parent",)
    ),
    "darwin_merge_verdict": Metric(
        kind="gauge",
        help="The child beside father, mother and linear on verdict rows; stat: difference, low, high, p.",
        labels=("against", "stat"),
    ),
    "darwin_merge_candidates_total": Metric(
        kind="counter", help="Candidates done; result: scored, rejected.", labels=("result",)
    ),
    "darwin_merge_candidates_wanted": Metric(kind="gauge", help="Candidates in all: steps times candidates."),
    "darwin_merge_jobs": Metric(
        kind="gauge",
        help="Jobs there are; state: queued, pending, running, succeeded, failed.",
        labels=("stage", "state"),
    ),
    "darwin_merge_gpu_seconds_total": Metric(
        kind="counter", help="GPUs held by Pods, times seconds.", labels=("stage",)
    ),
    "darwin_merge_pending_seconds": Metric(
        kind="gauge", help="How long the Job that has waited longest for a running Pod has; 0: none waits."
    ),
    "darwin_merge_last_progress_timestamp_seconds": Metric(
        kind="gauge", help="When a result last came home, since 1970; at first, when it was created."
    ),
    "darwin_merge_eta_timestamp_seconds": Metric(kind="gauge", help="When it may be done, since 1970."),
    "darwin_merge_mri_ratio_spread": Metric(
        kind="gauge", help="Standard deviation of the MRI's prescriptions over tensors."
    ),
}
OPERATOR: Mapping[str, Metric] = {
    "darwin_operator_build_info": Metric(kind="gauge", help="The operator: 1.", labels=("version",)),
    "darwin_operator_stage_duration_seconds": Metric(
        kind="histogram", help="From a Job's creation to its success.", labels=("stage",)
    ),
    "darwin_operator_reconcile_total": Metric(kind="counter", help="Looks at runs."),
    "darwin_operator_reconcile_errors_total": Metric(kind="counter", help="Looks that failed, and are repeated."),
    "darwin_operator_reconcile_duration_seconds": Metric(kind="histogram", help="How long a look at a run takes."),
    "darwin_operator_queue_depth": Metric(kind="gauge", help="Runs that are due to be looked at."),
    "darwin_operator_queue_lag_seconds": Metric(kind="gauge", help="How long the run that is due longest has waited."),
    "darwin_operator_watch_age_seconds": Metric(
        kind="gauge", help="Since a watch was last answered; of several namespaces, the worst.", labels=("resource",)
    ),
    "darwin_operator_api_requests_total": Metric(
        kind="counter", help="Requests to the API server, without watches.", labels=("verb", "resource", "code")
    ),
}
START, END = "<!-- metrics: made by `make docs` -->\n", "<!-- /metrics -->\n"


def documented(page: str) -> str:
    """A page whose tables of metrics are those of this version."""
    tables = []
    for title, metrics in (("Of a run, with `namespace` and `name`", RUN), ("Of the operator", OPERATOR)):
        rows = [
            f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
            for name, metric in metrics.items()
        ]
        tables.append("\n".join([f"## {title}", "", "| metric | kind | labels | |", "|---|---|---|---|", *rows, ""]))
    before, _, rest = page.partition(START)
    return before + START + "\n" + "\n".join(tables) + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    (file,) = (Path(name) for name in sys.argv[1:])
    file.write_text(documented(file.read_text()))
