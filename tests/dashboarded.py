"""Every query of the chart's dashboards and alerts, as Grafana and Prometheus would ask it; for tests.

Read from the files that the chart brings, not from what they are made by.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from charts.alerts import ALERTS
from tests.charted import CHART
from tests.prometheus import TARGET, Prometheus

DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
RULES = CHART / "files" / "rules.yaml"
RANGES = {"$__rate_interval": "1m", "$__interval": "5s"}
Json = dict[str, Any]


class Query(NamedTuple):
    """What is asked, and by whom."""

    place: str
    expression: str


def panels(dashboard: Json) -> Iterator[Json]:
    """Those within rows too."""
    for panel in dashboard["panels"]:
        yield from [panel, *panel.get("panels", [])]


def of_dashboards() -> Iterator[Query]:
    """Of every panel and every variable; a variable's `label_values` as what Grafana asks Prometheus for."""
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                yield Query(f"{file.name}: {panel['title']} {target['refId']}", target["expr"])
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert asked, variable
                yield Query(f"{file.name}: ${variable['name']}", f"group by ({asked[2]}) ({asked[1]})")


def of_alerts() -> Iterator[Query]:
    """What every alert measures, and what it asks for besides, without the threshold."""
    for name, alerts in ALERTS.items():
        for alert in alerts:
            for measured in (alert.measured, *alert.besides):
                yield Query(f"rules.yaml: {name}", measured)


def filled(expression: str, namespace: str, name: str, seconds: float) -> str:
    """With the values of Grafana's variables."""
    values = {"$namespace": namespace, "$name": name, "$job": TARGET["job"], "$__range": f"{max(1, int(seconds))}s"}
    for variable, value in sorted((values | RANGES).items(), reverse=True):
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def answers(
    prometheus: Prometheus, namespace: str, name: str, start: float, end: float
) -> Mapping[Query, Mapping[tuple[tuple[str, str], ...], list[float]]]:
    """What each query finds over the time of a run: values by labels, none where it finds nothing."""
    return {
        query: prometheus.over(filled(query.expression, namespace, name, end - start), start, end)
        for query in (*of_dashboards(), *of_alerts())
    }
