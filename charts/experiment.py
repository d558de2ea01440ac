"""The dashboard of one DarwinMerge: how good it gets, how far it is, what it costs and what it waits for."""

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import statetimeline, table, timeseries, trend
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard, units

from charts.panels import (
    AMBER,
    DASHED,
    GREEN,
    GREY,
    PARENTS,
    RED,
    SOURCE,
    WIDE,
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
    transformation,
    values_of,
    word,
)
from charts.promql import most, of, total

UID = "darwin-experiment"
RUN = {"namespace": "$namespace", "name": "$name"}
FITNESS = {"best": GREEN, "mean": "yellow", **PARENTS}
BEST = most("darwin_merge_best_fitness", **RUN)
BETTER_PARENT = most("darwin_merge_parent_fitness", parent="!=linear", **RUN)
DONE = total("darwin_merge_candidates_total", **RUN)
WANTED = most("darwin_merge_candidates_wanted", **RUN)
FINISHED = f"floor({DONE} * {most('darwin_merge_generations', **RUN)} / {WANTED})"  # generations


def dashboard_of_a_run() -> build.Dashboard:
    """The dashboard."""
    found = board(
        UID,
        "Darwin / Experiment",
        "One DarwinMerge: its search beside its parents, its verdict, its way, its costs.",
        values_of("namespace", "darwin_merge_info", of("darwin_merge_info"), "namespace", "Of the DarwinMerge."),
        values_of(
            "name", "darwin_merge_info", of("darwin_merge_info", namespace="$namespace"), "name", "The DarwinMerge."
        ),
    )
    drawn = [*at_a_glance(), by_generation(), over_time(), verdict(), timeline(), *work(), conditions(), about()]
    for one in drawn:
        found.with_panel(one)
    return found


def at_a_glance() -> list[Builder[dashboard.Panel]]:
    """The first row, of numbers and words."""
    phase = word(
        "Phase",
        "What it is doing; or what holds it.",
        4,
        latest(most("darwin_merge_phase", "phase", **RUN) + " == 1", "{{phase}}"),
    )
    generation = number(
        "Generation",
        "The one that is evolved, of those that are wanted (`spec.evolution.steps`).",
        4,
        latest(most("darwin_merge_generation", **RUN), "now"),
        latest(most("darwin_merge_generations", **RUN), "of", "B"),
    )
    candidates = number("Candidates done", "Scored or rejected, of all.", 4, latest(f"{DONE} / {WANTED}"))
    ahead = number(
        "Best beside the better parent",
        "Scores on search rows. What the child is worth the verdict says, on rows that the search hasn't seen.",
        4,
        latest(BEST, "best"),
        latest(f"{BEST} - {BETTER_PARENT}", "ahead", "B"),
    )
    label = word(
        "Verdict",
        "Whether the child is better than its parents on verdict rows; the table below has the figures.",
        4,
        latest(most("darwin_merge_condition", "reason", type="Complete", status="True", **RUN), "{{reason}}"),
    )
    end = number(
        "Done",
        "Estimated from the questions that are left. Nothing while it stands still, is held, or has ended.",
        4,
        latest(f"{most('darwin_merge_eta_timestamp_seconds', **RUN)} * 1000"),
    )
    return [
        phase,
        generation.decimals(0),
        candidates.unit(units.PercentUnit).decimals(0).thresholds(steps((None, GREY), (1, GREEN))),
        ahead.decimals(3).thresholds(steps((None, RED), (0, GREEN))).override_by_name("best", [color(GREY)]),
        label.no_value("none yet").thresholds(steps((None, GREEN))),
        end.unit(units.DateTimeFromNow).no_value("–"),
    ]


def by_generation() -> trend.Panel:
    """Best and mean by generation; the parents as dashed lines."""
    asked = {"generation": FINISHED}
    asked |= {stat: most("darwin_merge_fitness", stat=stat, **RUN) for stat in ("best", "mean")}
    asked |= {parent: most("darwin_merge_parent_fitness", parent=parent, **RUN) for parent in PARENTS}
    refs = dict(zip(asked, "ABCDEF", strict=True))
    last = {"aggregations": ["lastNotNull"], "operation": "aggregate"}
    kept = {f"Value #{refs[name]}": last for name in asked if name != "generation"}
    names = {f"{value} (lastNotNull)": name for value, name in zip(kept, [*asked][1:], strict=True)}
    panel = (
        trend.Panel()
        .title("Scores by generation")
        .description(
            "The best candidate of each finished generation and the mean, on search rows; dashed: the parents, and "
            "their plain average."
        )
        .datasource(SOURCE)
        .span(12)
        .height(10)
        .x_field("generation")
        .show_points(common.VisibilityMode.ALWAYS)
        .line_width(2)
        .decimals(3)
        .with_transformation(transformation("joinByField", byField="Time", mode="outer"))
        .with_transformation(
            transformation(
                "groupBy", fields={f"Value #{refs['generation']}": {"aggregations": [], "operation": "groupby"}} | kept
            )
        )
        .with_transformation(
            transformation("organize", renameByName={f"Value #{refs['generation']}": "generation"} | names)
        )
        .with_transformation(transformation("sortBy", fields={}, sort=[{"field": "generation"}]))
        .override_by_name("generation", [dashboard.DynamicConfigValue("decimals", 0)])
        .override_by_regexp(
            f"^({'|'.join(PARENTS)})$", [DASHED, dashboard.DynamicConfigValue("custom.showPoints", "never")]
        )
    )
    for name, expression in asked.items():
        panel.with_target(query(expression, ref=refs[name], frame=True))
    for name, shown in FITNESS.items():
        panel.override_by_name(name, [color(shown)])
    return panel


def over_time() -> timeseries.Panel:
    """The same over time, with the generation as steps."""
    panel = lines(
        "Scores over time",
        "Of the last finished generation, and the best so far; on the right axis, the generation.",
        12,
        query(most("darwin_merge_fitness", "stat", stat="!=max", **RUN), "{{stat}}"),
        query(BEST, "best so far", "B"),
        query(most("darwin_merge_parent_fitness", "parent", **RUN), "{{parent}}", "C"),
        query(most("darwin_merge_generation", **RUN), "generation", "D"),
    )
    for name, shown in {**FITNESS, "median": GREY, "min": RED, "best so far": "dark-green"}.items():
        panel.override_by_name(name, [color(shown)])
    right = {"custom.axisPlacement": "right", "custom.lineInterpolation": "stepAfter", "decimals": 0, "min": 0}
    faint = {"custom.lineWidth": 1, "custom.fillOpacity": 5}
    return (
        panel.height(10)
        .decimals(3)
        .override_by_regexp(f"^({'|'.join(PARENTS)})$", [DASHED])
        .override_by_name(
            "generation",
            [color(GREY), *(dashboard.DynamicConfigValue(key, value) for key, value in (right | faint).items())],
        )
    )


def verdict() -> table.Panel:
    """The child beside father, mother and linear, with intervals."""
    stats = {"difference": "A", "low": "B", "high": "C", "p": "D"}
    asked = [
        latest(most("darwin_merge_verdict", "against", stat=stat, **RUN), ref=ref, frame=True)
        for stat, ref in stats.items()
    ]
    names = {"against": "child beside", "Value #A": "difference", "Value #B": "from", "Value #C": "to", "Value #D": "p"}
    return (
        rows(
            "Verdict in figures",
            "Differences in score on verdict rows, with their confidence interval and p-value.",
            10,
            *asked,
        )
        .with_transformation(columns([*names], names))
        .decimals(3)
        .no_value("none yet")
        .thresholds(steps((None, RED), (0, GREEN)))
        .override_by_regexp(
            "^(difference|from|to)$", [dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})]
        )
    )


def timeline() -> statetimeline.Panel:
    """Each phase that the run has been in, as a bar: 1 where it is in it."""
    phase = of("darwin_merge_phase", **RUN)
    seen = f"max by (phase) (max_over_time({of('darwin_merge_phase', over='$__range', **RUN)})) == 1"
    shown = {
        "0": dashboard.ValueMappingResult(text="", color="transparent", index=0),
        "1": dashboard.ValueMappingResult(text="", color=GREEN, index=1),
    }
    held = dashboard.ValueMap(options=shown | {"1": dashboard.ValueMappingResult(text="", color=RED, index=1)})
    return (
        statetimeline.Panel()
        .title("Phases")
        .description("When it was in which; red: nothing is done.")
        .datasource(SOURCE)
        .span(14)
        .height(8)
        .with_target(query(f"max by (phase) ({phase}) and on (phase) ({seen})", "{{phase}}"))
        .show_value(common.VisibilityMode.NEVER)
        .legend(looks.VizLegendOptions().show_legend(False))
        .mappings([dashboard.ValueMap(options=shown)])
        .override_by_regexp(
            "^(Suspended|Queued|Pending|Stalled|Failed)$", [dashboard.DynamicConfigValue("mappings", [held])]
        )
    )


def work() -> list[Builder[dashboard.Panel]]:
    """What is done, by how much, and what it waits for."""
    candidates = stacked(
        lines(
            "Candidates",
            "Done so far, by result.",
            8,
            query(total("darwin_merge_candidates_total", "result", **RUN), "{{result}}"),
        )
    )
    jobs = stacked(
        lines(
            "Jobs",
            "That there are, by stage and state.",
            8,
            query(total("darwin_merge_jobs", "stage", "state", **RUN), "{{stage}} {{state}}"),
        )
    )
    waits = lines(
        "Waiting",
        "How long the Job that has waited longest for a running Pod has; and since the last result.",
        8,
        query(most("darwin_merge_pending_seconds", **RUN), "for a Pod"),
        query(f"time() - {most('darwin_merge_last_progress_timestamp_seconds', **RUN)}", "since a result", "B"),
    )
    gpus = stacked(
        lines(
            "GPU hours",
            "Held by Pods so far, by stage; 0 for stages that ask for no GPU.",
            12,
            query(f"{total('darwin_merge_gpu_seconds_total', 'stage', **RUN)} / 3600", "{{stage}}"),
        )
    )
    whole = number(
        "GPU hours in all", "Held by Pods.", 4, latest(f"{total('darwin_merge_gpu_seconds_total', **RUN)} / 3600")
    )
    age = number("Created", "When.", 4, latest(f"{most('darwin_merge_created_timestamp_seconds', **RUN)} * 1000"))
    spread = number(
        "MRI spread",
        "Standard deviation of the MRI's prescriptions over tensors; near 0 it tells the search nothing.",
        4,
        latest(most("darwin_merge_mri_ratio_spread", **RUN)),
    )
    return [
        candidates.override_by_name("scored", [color(GREEN)]).override_by_name("rejected", [color(RED)]),
        jobs,
        waits.unit(units.Seconds).min(0).override_by_name("for a Pod", [color(AMBER)]),
        gpus.decimals(1),
        whole.decimals(1).height(8),
        age.unit(units.DateTimeFromNow).height(8),
        spread.decimals(3).height(8),
    ]


def conditions() -> table.Panel:
    """As `kubectl describe` shows them, without the messages."""
    names = {"type": "condition", "status": "status", "reason": "reason"}
    asked = latest(most("darwin_merge_condition", "type", "status", "reason", **RUN), frame=True)
    return rows("Conditions", "Their messages: `kubectl darwin status`.", WIDE // 2, asked).with_transformation(
        columns([*names], names, "Value")
    )


def about() -> table.Panel:
    """What the run is made of."""
    names = {"father": "father", "mother": "mother", "algorithm": "algorithm"}
    asked = latest(most("darwin_merge_info", *names, **RUN), frame=True)
    return rows("About", "Where its parents are, and how it searches.", WIDE // 2, asked).with_transformation(
        columns([*names], names, "Value")
    )
