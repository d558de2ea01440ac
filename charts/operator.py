"""The dashboard of the operator: the runs that it serves, whether it keeps up, and what it asks of the API server."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard, units

from charts.experiment import UID as EXPERIMENT
from charts.panels import (
    AMBER,
    GREEN,
    GREY,
    RED,
    board,
    color,
    columns,
    latest,
    lines,
    number,
    query,
    rows,
    stacked,
    steps,
    values_of,
    word,
)
from charts.promql import most, of, quantile, total

UID = "darwin-operator"
OURS = {"job": "$job"}
RATE = "$__rate_interval"
LAG = most("darwin_operator_queue_lag_seconds", **OURS)
IDLE = dashboard.SpecialValueMap(  # nothing was looked at
    build.DashboardSpecialValueMapOptions()
    .match(dashboard.SpecialValueMatch.NA_N)
    .result(dashboard.ValueMappingResult(text="–"))
    .build()
)
LINK = f"/d/{EXPERIMENT}?var-namespace=${{__data.fields.namespace}}&var-name=${{__data.fields.name}}"
ERRORS = total("darwin_operator_reconcile_errors_total", over=RATE, **OURS)
LOOKS = total("darwin_operator_reconcile_total", over=RATE, **OURS)


def dashboard_of_the_operator() -> build.Dashboard:
    """The dashboard."""
    found = board(
        UID,
        "Darwin / Operator",
        "The operator: the DarwinMerges that it serves, whether it keeps up, and what it asks of the API server.",
        values_of(
            "job",
            "darwin_operator_build_info",
            of("darwin_operator_build_info"),
            "job",
            "As Prometheus calls the operator's Service.",
        ),
    )
    for one in [*at_a_glance(), *runs(), *loop(), *api(), *stages()]:
        found.with_panel(one)
    return found


def at_a_glance() -> list[Builder[dashboard.Panel]]:
    """The first row."""
    version = word(
        "Version", "Of the operator.", 4, latest(most("darwin_operator_build_info", "version", **OURS), "{{version}}")
    )
    served = number(
        "Served", "DarwinMerges, also those that have ended.", 4, latest(f"count({of('darwin_merge_info', **OURS)})")
    )
    depth = number("Due", "Runs that are due to be looked at.", 4, latest(most("darwin_operator_queue_depth", **OURS)))
    lag = number("Lag", "How long the run that is due longest has waited.", 4, latest(LAG))
    age = number(
        "Watches",
        "Since the API server last answered the watch that has waited longest; each begins anew every four minutes.",
        4,
        latest(most("darwin_operator_watch_age_seconds", **OURS)),
    )
    failed = number("Failed looks", "Of all, each of which is repeated.", 4, latest(f"{ERRORS} / {LOOKS}"))
    return [
        version,
        served,
        depth,
        lag.unit(units.Seconds).thresholds(steps((None, GREEN), (60, AMBER), (300, RED))),
        age.unit(units.Seconds).thresholds(steps((None, GREEN), (300, AMBER), (600, RED))),
        failed.unit(units.PercentUnit)
        .decimals(0)
        .thresholds(steps((None, GREEN), (0.1, AMBER), (0.5, RED)))
        .mappings([IDLE]),
    ]


def runs() -> list[Builder[dashboard.Panel]]:
    """What it serves."""
    own = ("namespace", "name")
    names = {"namespace": "namespace", "name": "name", "phase": "phase", "Value #B": "done", "Value #C": "best"}
    done = total("darwin_merge_candidates_total", *own, **OURS)
    listed = rows(
        "DarwinMerges",
        "A name leads to its dashboard.",
        12,
        latest(most("darwin_merge_phase", *own, "phase", **OURS) + " == 1", ref="A", frame=True),
        latest(f"{done} / {most('darwin_merge_candidates_wanted', *own, **OURS)}", ref="B", frame=True),
        latest(most("darwin_merge_best_fitness", *own, **OURS), ref="C", frame=True),
    )
    link = {"title": "its dashboard", "url": LINK}
    phases = lines(
        "Phases",
        "How many runs are in which.",
        6,
        query(f"count by (phase) ({of('darwin_merge_phase', **OURS)} == 1)", "{{phase}}"),
    )
    jobs = lines("Jobs", "Of all runs, by state.", 6, query(total("darwin_merge_jobs", "state", **OURS), "{{state}}"))
    return [
        listed.with_transformation(columns([*names], names, "Value #A"))
        .override_by_name("name", [dashboard.DynamicConfigValue("links", [link])])
        .override_by_name("done", [dashboard.DynamicConfigValue("unit", units.PercentUnit)])
        .override_by_name("best", [dashboard.DynamicConfigValue("decimals", 3)]),
        stacked(phases).override_by_name("Stalled", [color(RED)]),
        stacked(jobs).override_by_name("failed", [color(RED)]).override_by_name("running", [color(GREEN)]),
    ]


def loop() -> list[Builder[dashboard.Panel]]:
    """Whether it keeps up."""
    looks = lines(
        "Looks", "At runs, a second, and those that failed.", 6, query(LOOKS, "looks"), query(ERRORS, "failed", "B")
    )
    took = lines(
        "A look takes",
        "Requests to the API server are most of it.",
        6,
        *(
            query(quantile(q, "darwin_operator_reconcile_duration_seconds", over=RATE, **OURS), legend, ref)
            for q, legend, ref in ((0.5, "p50", "A"), (0.99, "p99", "B"))
        ),
    )
    queue = lines(
        "Queue",
        "Runs that are due, and for how long the first of them has been.",
        6,
        query(most("darwin_operator_queue_depth", **OURS), "due"),
        query(LAG, "lag", "B"),
    )
    watches = lines(
        "Since a watch was answered",
        "By resource; above ten minutes a watch is dead.",
        6,
        query(most("darwin_operator_watch_age_seconds", "resource", **OURS), "{{resource}}"),
    )
    return [
        looks.unit(units.RequestsPerSecond).min(0).override_by_name("failed", [color(RED)]),
        took.unit(units.Seconds).min(0),
        queue.min(0).override_by_name("lag", [dashboard.DynamicConfigValue("unit", units.Seconds)]),
        watches.unit(units.Seconds).min(0).thresholds(steps((None, GREEN), (600, RED))),
    ]


def api() -> list[Builder[dashboard.Panel]]:
    """What it asks of the API server, without watches."""
    name = "darwin_operator_api_requests_total"
    codes = lines("API requests by code", "A second.", 12, query(total(name, "code", over=RATE, **OURS), "{{code}}"))
    asked = lines(
        "API requests",
        "A second, by verb and resource.",
        12,
        query(total(name, "verb", "resource", over=RATE, **OURS), "{{verb}} {{resource}}"),
    )
    bad = dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED})
    return [
        stacked(codes).unit(units.RequestsPerSecond).override_by_regexp("^[45].*", [bad]),
        stacked(asked).unit(units.RequestsPerSecond),
    ]


def stages() -> list[Builder[dashboard.Panel]]:
    """How long Jobs take, since the operator was started: they are too few for a rate."""
    name = "darwin_operator_stage_duration_seconds"
    names = {"stage": "stage", "Value #A": "Jobs", "Value #B": "mean", "Value #C": "p50", "Value #D": "p95"}
    count, spent = (total(f"{name}_{part}", "stage", **OURS) for part in ("count", "sum"))
    asked = (count, f"{spent} / {count}", quantile(0.5, name, "stage", **OURS), quantile(0.95, name, "stage", **OURS))
    listed = rows(
        "Stages",
        "From a Job's creation to its success, so with its waiting, since the operator was started.",
        12,
        *(latest(one, ref=ref, frame=True) for one, ref in zip(asked, "ABCD", strict=True)),
    )
    gpus = lines(
        "GPUs held",
        "By Pods of all runs, by stage.",
        12,
        query(total("darwin_merge_gpu_seconds_total", "stage", over=RATE, **OURS), "{{stage}}"),
    )
    seconds = dashboard.DynamicConfigValue("unit", units.Seconds)
    return [
        listed.with_transformation(columns([*names], names)).override_by_regexp("^(mean|p50|p95)$", [seconds]),
        stacked(gpus).thresholds(steps((None, GREY))),
    ]
