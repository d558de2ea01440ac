"""A real Prometheus that scrapes one operator, with the labels that Prometheus Operator would give the target."""

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

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
READY_SECONDS = 30.0
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API."""

    address: str

    def query(self, expression: str) -> dict[Labels, float]:
        """Values by labels, as they are now; without the metric's name and those of the target."""
        apart = {"__name__", "job", "pod", "service", "endpoint", "container", "instance"}
        return {
            tuple(sorted((k, v) for k, v in one["metric"].items() if k not in apart)): float(one["value"][1])
            for one in self._get("query", query=expression)["result"]
        }

    def value(self, expression: str) -> float | None:
        """The one value of an expression; None without any."""
        found = list(self.query(expression).values())
        assert len(found) <= 1, f"{expression}: {found}"
        return found[0] if found else None

    def over(self, expression: str, start: float, end: float, step: float = 1.0) -> dict[Labels, list[float]]:
        """Values by labels, up to the end of a time in seconds since 1970; without those that are no numbers."""
        start = end - math.ceil((end - start) / step) * step
        found = self._get("query_range", query=expression, start=start, end=end, step=step)["result"]
        values = {
            tuple(sorted(one["metric"].items())): [float(value) for _, value in one["values"] if value != "NaN"]
            for one in found
        }
        return {labels: numbers for labels, numbers in values.items() if numbers}

    def rules(self) -> dict[str, str]:
        """How the evaluation of each alert goes, once each was evaluated: ok, or what is wrong."""
        end = time.monotonic() + READY_SECONDS
        while True:
            rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
            if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > end:
                return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules}
            time.sleep(0.2)

    def _get(self, what: str, **asked: str | float) -> dict[str, Any]:
        try:
            address = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                found: dict[str, Any] = json.loads(answer.read())["data"]
        except HTTPError as error:
            raise AssertionError(f"{asked}: {error.read().decode()}") from error
        return found


def installed(program: str = "prometheus") -> str:
    """The program, `prometheus` or `promtool`; the test is skipped where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on PATH: apt-get install prometheus")
    return found


@contextmanager
def scraping(port: int, folder: Path, rules: Path | None = None) -> Iterator[Prometheus]:
    """Scrape 127.0.0.1:`port` every second; once it has done so for the first time.

    Raises:
        RuntimeError: it isn't ready in time, with what it has said.
    """
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
    program = installed()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([program, *flags], stdout=log, stderr=subprocess.STDOUT)
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{own}")
            _until_scraped(prometheus, process, folder / "prometheus.log")
            yield prometheus
        finally:
            process.terminate()
            process.wait(30)


def _until_scraped(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if prometheus.query("up"):
                return
        except (OSError, AssertionError):  # it doesn't listen yet, or isn't ready
            pass
        time.sleep(0.1)
    how = f"has ended with {process.returncode}" if process.returncode is not None else "has scraped nothing in time"
    raise RuntimeError(f"Prometheus {how}:\n{log.read_text()[-2000:]}")
