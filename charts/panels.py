"""What both dashboards are made of: queries, variables, links, and a look that they share.

Grafana 10.1 or newer reads them; grafana-foundation-sdk knows its schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from charts.project import page
from charts.promql import known

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "darwin"
WIDE = 24  # columns of a screen
GREEN, AMBER, RED, BLUE, PURPLE, GREY = "green", "orange", "red", "blue", "purple", "text"
PARENTS = {"father": BLUE, "mother": PURPLE, "linear": AMBER}
DASHED = dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
Panel = TypeVar("Panel", stat.Panel, table.Panel, timeseries.Panel)


def query(expression: str, legend: str = "", ref: str = "A", frame: bool = False) -> prometheus.Dataquery:
    """Of a time series; with `frame` as a table, whose labels are columns."""
    found = prometheus.Dataquery().expr(expression).ref_id(ref).range()
    return found.format(PromQueryFormat.TABLE) if frame else found.legend_format(legend)


def latest(expression: str, legend: str = "", ref: str = "A", frame: bool = False) -> prometheus.Dataquery:
    """As it is at the end of the time that is shown."""
    return query(expression, legend, ref, frame).instant()


def placed(panel: Panel, title: str, about: str, width: int, height: int) -> Panel:
    """A panel with what every panel has."""
    return panel.title(title).description(about).datasource(SOURCE).span(width).height(height)


def steps(*found: tuple[float | None, str]) -> build.ThresholdsConfig:
    """Colours, each from a value on; the first from None."""
    return (
        build.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, color) for value, color in found])
    )


def number(title: str, about: str, width: int, *queries: prometheus.Dataquery) -> stat.Panel:
    """The latest value of each query, large."""
    shown = looks.ReduceDataOptions().calcs(["lastNotNull"])
    panel = placed(stat.Panel(), title, about, width, 4).reduce_options(shown).graph_mode(common.BigValueGraphMode.NONE)
    for one in queries:
        panel.with_target(one)
    return panel.thresholds(steps((None, GREY))).color_mode(common.BigValueColorMode.VALUE)


def word(title: str, about: str, width: int, one: prometheus.Dataquery) -> stat.Panel:
    """The latest query's legend, large."""
    return number(title, about, width, one).text_mode(common.BigValueTextMode.NAME)


def lines(title: str, about: str, width: int, *queries: prometheus.Dataquery) -> timeseries.Panel:
    """Values over time."""
    legend = looks.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True)
    several = looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    panel = placed(timeseries.Panel(), title, about, width, 8).legend(legend.placement(common.LegendPlacement.BOTTOM))
    for one in queries:
        panel.with_target(one)
    return panel.tooltip(several).show_points(common.VisibilityMode.NEVER).line_width(2)


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Counts that change at once, on top of each other."""
    stack = looks.StackingConfig().mode(common.StackingMode.NORMAL)
    return panel.stacking(stack).fill_opacity(40).line_interpolation(common.LineInterpolation.STEP_AFTER).min(0)


def rows(title: str, about: str, width: int, *queries: prometheus.Dataquery) -> table.Panel:
    """The labels of each series as a row; of several queries, side by side."""
    panel = placed(table.Panel(), title, about, width, 8)
    for one in queries:
        panel.with_target(one)
    return panel.with_transformation(transformation("merge"))


def transformation(name: str, **options: Any) -> dashboard.DataTransformerConfig:
    """Of what the queries give, before it is drawn."""
    return dashboard.DataTransformerConfig(id_val=name, options=options)


def columns(order: Sequence[str], names: Mapping[str, str], *hidden: str) -> dashboard.DataTransformerConfig:
    """A table's columns in an order, by other names, without some."""
    places = {name: place for place, name in enumerate(order)}
    gone = dict.fromkeys(("Time", *hidden), True)
    return transformation("organize", indexByName=places, renameByName=dict(names), excludeByName=gone)


def color(name: str) -> dashboard.DynamicConfigValue:
    """One colour, whatever the value."""
    return dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})


def values_of(name: str, metric: str, selector: str, label: str, about: str) -> build.QueryVariable:
    """A variable with the values that a label has."""
    known(metric, [label])
    asked = f"label_values({selector}, {label})"
    return (
        build.QueryVariable(name)
        .label(label)
        .description(about)
        .query({"query": asked, "refId": name})
        .datasource(SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )


def board(uid: str, title: str, about: str, *variables: build.QueryVariable) -> build.Dashboard:
    """A dashboard without panels."""
    source = build.DatasourceVariable("datasource").type("prometheus").label("Prometheus")
    found = build.Dashboard(title).uid(uid).description(about).tags([TAG]).editable().refresh("30s").timezone("browser")
    found.time("now-6h", "now").tooltip(dashboard.DashboardCursorSync.CROSSHAIR).with_variable(source)
    for variable in variables:
        found.with_variable(variable)
    others = build.DashboardLink("Darwin").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    docs = build.DashboardLink("Docs").type(dashboard.DashboardLinkType.LINK).url(page("docs/metrics.md"))
    return found.link(others).link(docs.icon("doc").target_blank(True))


def text(found: build.Dashboard) -> str:
    """The file that Grafana imports; panels are numbered in their order."""
    built = found.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(built) + "\n"
