"""The chart's dashboards: `python -m charts.dashboards FOLDER` writes them as Grafana imports them."""

import sys
from collections.abc import Mapping
from pathlib import Path

from charts import experiment, operator
from charts.panels import text


def dashboards() -> Mapping[str, str]:
    """The files, by name."""
    return {
        f"{experiment.UID}.json": text(experiment.dashboard_of_a_run()),
        f"{operator.UID}.json": text(operator.dashboard_of_the_operator()),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, content in dashboards().items():
        (folder / name).write_text(content)
