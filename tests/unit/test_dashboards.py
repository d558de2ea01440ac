"""The chart's dashboards: every query finds something in a real Prometheus that has scraped a run from start to end."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charts.alerts import ALERTS, HEALTHY_WITHOUT
from charts.dashboards import dashboards
from charts.panels import PARENTS
from charts.promql import in_phase, labels_of, most, names_in, of, quantile, total
from darwinmerge.errors import ExitCode
from darwinmerge_operator.health import Health, serve
from darwinmerge_operator.metric import OPERATOR, RUN
from darwinmerge_operator.metrics import Metrics
from tests.dashboarded import DASHBOARDS, RULES, answers, of_dashboards, panels
from tests.prometheus import READY_SECONDS, Prometheus, scraping
from tests.s3 import free_ports
from tests.unit.decided import failed
from tests.unit.looks import BETWEEN, Looks, running
from tests.unit.plan_world import World, experiment
from tests.unit.test_metrics import figures

BUILT = {file.name: json.loads(file.read_text()) for file in DASHBOARDS}


@dataclass(frozen=True)
class Scraped:
    """A run that Prometheus has seen all of, and another one that stands still."""

    prometheus: Prometheus
    began: float
    ended: float


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """By the operator's own server and collector."""
    metrics = Metrics("1.2.3")
    metrics.watch_queue(lambda: 1, lambda: 0.25)
    (port,) = free_ports(1)
    server = serve(Health(lambda: 0.0, time.monotonic), metrics.registry, port)
    try:
        with scraping(port, tmp_path_factory.mktemp("prometheus"), RULES) as prometheus:
            began = time.time()
            for name, looks in (("tiny", a_run(metrics)), ("still", a_stalled_run())):
                shown: set[tuple[str, bool]] = set()
                for run in looks:
                    told = figures(run)
                    metrics.board.put(("team", name), told)
                    observe(metrics)
                    news = (run.status.phase, told.ends_at is None)
                    if news not in shown:
                        shown.add(news)
                        scraped_since(prometheus, metrics)
            yield Scraped(prometheus, began, time.time())
    finally:
        server.shutdown()
        server.server_close()


def a_run(metrics: Metrics) -> Iterator[Looks]:
    """From its start to its verdict, whose Pods hold a GPU each."""
    looks, world = Looks(experiment(), now=time.time()), World(grain=1e-9, rejects=0.2)
    while True:
        started = list(looks.step().start)
        yield looks
        if not started:
            return
        holds = {"running_since": looks.now, "gpus": 1}
        looks.with_jobs(pods=tuple(pod.model_copy(update=holds) for pod in running(looks.now)))
        looks.step()
        yield looks
        looks.finish(world, started)
        looks.jobs = tuple(
            job.model_copy(update={"pods": tuple(pod.model_copy(update=holds) for pod in job.pods)})
            for job in looks.jobs
        )
        metrics.stage_took(started[0].stage, BETWEEN)


def a_stalled_run() -> Iterator[Looks]:
    """One whose Job has failed in a way that needs a person."""
    looks = Looks(experiment(), now=time.time())
    looks.until(World(), "mri")
    looks.end(looks.jobs[-1], failed(ExitCode.BAD_INPUT), failed=True)
    looks.step()
    yield looks


def scraped_since(prometheus: Prometheus, metrics: Metrics) -> None:
    """Wait until Prometheus has the last look."""
    looks = metrics.registry.get_sample_value("darwin_operator_reconcile_total")
    end = time.monotonic() + READY_SECONDS
    while prometheus.value("darwin_operator_reconcile_total") != looks:
        assert time.monotonic() < end
        time.sleep(0.05)


def observe(metrics: Metrics) -> None:
    """What a look leaves behind besides."""
    with metrics.look():
        metrics.tried("/apis/batch/v1/jobs")
        metrics.asked("GET", "jobs", "200")


def test_every_query_of_every_panel_variable_and_alert_finds_something(scraped: Scraped) -> None:
    found = answers(scraped.prometheus, "team", "tiny", scraped.began, scraped.ended)
    assert len(found) > 60
    assert [query for query, values in found.items() if not values] == []


def test_what_no_healthy_run_has_is_there_of_one_that_stands_still(scraped: Scraped) -> None:
    for expression in HEALTHY_WITHOUT:
        assert scraped.prometheus.over(expression, scraped.began, scraped.ended)
    (stalled,) = ALERTS["DarwinMergeStalled"]
    (labels,) = scraped.prometheus.over(stalled.expression, scraped.began, scraped.ended)
    assert dict(labels)["name"] == "still"


def test_a_prometheus_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("groups: [{name: a, rules: [{alert: A, expr: 'sum('}]}]")
    with (
        pytest.raises(RuntimeError, match=r"(?s)Prometheus has ended with 1:.*parse error"),
        scraping(1, tmp_path, tmp_path / "rules.yaml"),
    ):
        pass


def test_a_query_that_finds_nothing_is_found_out(scraped: Scraped) -> None:
    assert scraped.prometheus.over("darwin_merge_nothing", scraped.began, scraped.ended) == {}
    assert scraped.prometheus.over("0 * darwin_merge_generation / 0", scraped.began, scraped.ended) == {}
    with pytest.raises(AssertionError, match="parse error"):
        scraped.prometheus.over("sum(", scraped.began, scraped.ended)


def test_prometheus_evaluates_each_alert_and_none_fires(scraped: Scraped) -> None:
    assert scraped.prometheus.rules() == dict.fromkeys(ALERTS, "ok")
    assert scraped.prometheus.over('ALERTS{alertstate="firing"}', scraped.began, scraped.ended) == {}


def test_the_generation_that_scores_are_drawn_by_is_the_finished_one(scraped: Scraped) -> None:
    (generation,) = [query for query in of_dashboards() if "Scores by generation A" in query.place]
    found = answers(scraped.prometheus, "team", "tiny", scraped.began, scraped.ended)[generation]
    (values,) = found.values()
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, experiment().spec.evolution.steps)


def test_the_charts_dashboards_are_those_of_this_version() -> None:
    assert {file.name: file.read_text() for file in DASHBOARDS} == dashboards(), "stale: run `make docs`"


def test_every_metric_is_in_a_dashboard_or_an_alert() -> None:
    asked = [query.expression for query in of_dashboards()]
    asked += [alert.expression for alerts in ALERTS.values() for alert in alerts]
    assert set().union(*(names_in(one) for one in asked)) == {*RUN, *OPERATOR}


@pytest.mark.parametrize("name", BUILT)
def test_grafana_can_import_it_again_and_finds_the_other(name: str) -> None:
    found = BUILT[name]
    assert found["uid"] == name.removesuffix(".json")
    assert "id" not in found
    assert len(found["uid"]) <= 40
    assert found["schemaVersion"] >= 36
    assert found["tags"] == ["darwin"]
    assert {link["type"] for link in found["links"]} == {"dashboards", "link"}
    assert {variable["type"] for variable in found["templating"]["list"]} == {"datasource", "query"}


@pytest.mark.parametrize("name", BUILT)
def test_each_panel_is_told_apart_described_and_asks_the_chosen_prometheus(name: str) -> None:
    found = [*panels(BUILT[name])]
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len({*refs}) == len(refs)


@pytest.mark.parametrize("name", BUILT)
def test_panels_fill_their_rows_and_none_lies_on_another(name: str) -> None:
    places: set[tuple[int, int]] = set()
    for panel in panels(BUILT[name]):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places
        places |= cells
    assert places == {(x, y) for x in range(24) for y in range(max(y for _, y in places) + 1)}


@pytest.mark.parametrize("name", BUILT)
def test_a_name_that_is_given_to_a_series_or_a_column_is_one_that_there_is(name: str) -> None:
    """An override of a name that nothing has does nothing."""
    for panel in panels(BUILT[name]):
        told = " ".join(target.get("legendFormat", "") for target in panel["targets"]) + json.dumps(
            panel.get("transformations", [])
        )
        for override in panel["fieldConfig"].get("overrides", []):
            if override["matcher"]["id"] == "byName":
                assert override["matcher"]["options"] in told or "{{" in told, (panel["title"], override["matcher"])


def test_parents_are_dashed() -> None:
    drawn = [panel for panel in panels(BUILT["darwin-experiment.json"]) if panel["title"].startswith("Scores ")]
    assert [panel["type"] for panel in drawn] == ["trend", "timeseries"]
    for panel in drawn:
        (dashed,) = [one for one in panel["fieldConfig"]["overrides"] if "custom.lineStyle" in _set_by(one)]
        assert dashed["matcher"]["id"] == "byRegexp"
        drawn_so = [name for name in (*PARENTS, "best", "mean") if re.search(dashed["matcher"]["options"], name)]
        assert drawn_so == ["father", "mother", "linear"]


def _set_by(override: dict[str, Any]) -> set[str]:
    return {one["id"] for one in override["properties"]}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: of("darwin_merge_fitnes"), "no metric darwin_merge_fitnes;"),
        (lambda: of("darwin_merge_fitness", kind="best"), "darwin_merge_fitness has no label kind"),
        (lambda: of("darwin_merge_fitness_bucket"), "no metric"),
        (lambda: of("darwin_operator_stage_duration_seconds"), "no metric"),
        (lambda: most("darwin_merge_jobs", "phase"), "has no label phase"),
        (lambda: total("darwin_merge_jobs", "stage", name="x", le="1"), "has no label le"),
        (lambda: quantile(0.5, "darwin_operator_queue_depth"), "no metric"),
        (lambda: in_phase("Evolved"), "no phase Evolved"),
    ],
)
def test_what_metric_py_does_not_have_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_selectors() -> None:
    assert of("darwin_merge_phase") == "darwin_merge_phase"
    assert (
        of("darwin_merge_jobs", "5m", state="=~a|b", stage="mri") == 'darwin_merge_jobs{state=~"a|b",stage="mri"}[5m]'
    )
    assert total("darwin_operator_reconcile_total", "job", over="5m") == (
        "sum by (job) (rate(darwin_operator_reconcile_total[5m]))"
    )
    assert labels_of("darwin_merge_info") >= {"namespace", "name", "father"}
