"""A real Prometheus that scrapes one operator, with the labels that Prometheus Operator would give the target."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.s3 import free_ports

# As a ServiceMonitor's job has them; `namespace` is the operator's, and gives way to a run's by honor_labels.
TARGET = {
    "job": "darwin-operator",
    "namespace": "darwin-system",
    "pod": "darwin-operator-0",
    "service": "darwin-operator",
    "endpoint": "http",
    "container": "operator",
}


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API."""

    address: str

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Values by labels, as they are now; without the metric's name and those of the target."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.address}/api/v1/query?{query}", timeout=10) as answer:
            found = json.loads(answer.read())["data"]["result"]
        apart = {"__name__", "job", "pod", "service", "endpoint", "container", "instance"}
        return {
            tuple(sorted((k, v) for k, v in one["metric"].items() if k not in apart)): float(one["value"][1])
            for one in found
        }

    def value(self, expression: str) -> float | None:
        """The one value of an expression; None without any."""
        found = list(self.query(expression).values())
        assert len(found) <= 1, f"{expression}: {found}"
        return found[0] if found else None


def installed() -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus on PATH: apt-get install prometheus")
    return found


@contextmanager
def scraping(port: int, folder: Path, rules: Path | None = None) -> Iterator[Prometheus]:
    """Scrape 127.0.0.1:`port` every second."""
    (own,) = free_ports(1)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {
                "job_name": "operator",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": TARGET}],
            }
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    flags = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{own}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([installed(), *flags], stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{own}/-/ready", timeout=1):
                        break
                except OSError:
                    time.sleep(0.1)
            yield Prometheus(f"http://127.0.0.1:{own}")
        finally:
            process.terminate()
            process.wait(30)
