"""What `scale.py` measures on: experiments that are alike, an operator in a process of its own, and what it noted."""

import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from common import HERE

from darwinmerge_operator.resource import GROUP, KIND, VERSION

IMAGE = "localhost/darwin-gpu:pretended"
NEVER = "100h"
CALM_SECONDS = 5.0
WRITES = ("POST", "PUT", "PATCH", "DELETE")
Json = dict[str, Any]
Note = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """Experiments that are alike."""

    prefix: str
    count: int
    candidates: int = 2
    parallelism: int = 1
    seeded: bool = True  # its candidates are due at once; else it starts from nothing, and runs to its end
    seconds: str = "40s"  # that a candidate takes at least
    at_most: str = "80s"

    def names(self) -> list[str]:
        """Of all of them."""
        return [f"{self.prefix}-{number}" for number in range(self.count)]

    def manifest(self, name: str, namespace: str) -> Json:
        """One of them."""
        times = {"score": self.seconds, "score-at-most": self.at_most}
        times |= {"export": NEVER, "export-at-most": NEVER} if self.seeded else {}
        task = {"name": "darwin_geo", "search": {"rows": 120}, "verdict": {"rows": 300}}
        template = {
            "annotations": {f"scale/{what}": value for what, value in times.items()},
            "tolerations": [{"operator": "Exists"}],  # a node that is late on a busy machine keeps its Pods, too
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "volumes": [{"name": "scratch", "emptyDir": {}}],  # pretended nodes have no disk to ask for
        }
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "parents": {who: {"uri": f"s3://pretended/{who}"} for who in ("father", "mother")},
                "evolution": {"steps": 1, "candidates": self.candidates},
                "evaluation": {"tasks": [task], "finalists": 1},
                "store": {"uri": f"s3://pretended/runs/{name}"},
                "seed": 1,
                # a Job for each candidate: the most that the operator can be asked for
                "cluster": {"parallelism": self.parallelism, "candidatesPerJob": 1, "template": template},
            },
        }


@dataclass
class Notes:
    """What an operator noted, as far as it has got."""

    path: Path
    lines: list[Note] = field(default_factory=list)
    _read: int = 0

    def read(self) -> Self:
        """Take in what is new."""
        with self.path.open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._read = file.tell()
                self.lines.append(json.loads(line))
        return self

    def of(self, **what: Any) -> list[Note]:
        """Lines that say just this."""
        return [line for line in self.lines if all(line.get(key) == value for key, value in what.items())]

    def candidates(self) -> dict[str, list[float]]:
        """When each run's status told of one candidate more."""
        found: dict[str, list[float]] = {}
        for line in self.of(verb="PATCH", kind="status", fate="answered"):
            times = found.setdefault(line["run"], [])
            times += [line["at"]] * max(0, (line.get("candidates") or 0) - len(times))
        return found

    def calm(self) -> bool:
        """Whether nothing has been written for a while: all that was due is done."""
        written = (line["at"] for line in reversed(self.lines) if line.get("verb") in WRITES)
        return time.time() - next(written, 0.0) > CALM_SECONDS

    def writes(self, runs: Sequence[str]) -> Counter[str]:
        """Requests that write, by kind, for these runs."""
        known = set(runs)
        return Counter(
            f"{line['verb']} {line['kind']}"
            for line in self.lines
            if line.get("verb") in WRITES and line.get("run") in known
        )


class Operator:
    """The operator, in a process of its own, for one namespace."""

    def __init__(self, namespace: str, folder: Path) -> None:
        """Start it."""
        self.started = time.time()
        self.notes = Notes(folder / f"{namespace}-{secrets.token_hex(2)}.jsonl")
        command = [sys.executable, str(HERE / "scale_operator.py"), "--worker-image", IMAGE, "-n", namespace]
        self._output = self.notes.path.open("w")
        self._log = self.notes.path.with_suffix(".log").open("w")
        port = str(20000 + secrets.randbelow(20000))
        self._process = subprocess.Popen(
            [*command, "--port", port, "--log-level", "warning"], stdout=self._output, stderr=self._log
        )

    def until(self, done: Callable[[Notes], bool], patience: float) -> float:
        """Wait for something in the notes; gives when it was seen, and ends the benchmark where it takes too long."""
        deadline = time.monotonic() + patience
        while not done(self.notes.read()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                sys.exit(f"the operator didn't get there:\n{self.notes.path.with_suffix('.log').read_text()[-4000:]}")
            time.sleep(0.5)
        return time.time()

    def stop(self) -> Notes:
        """End it, as Kubernetes would; what it noted."""
        self._process.terminate()
        self._process.wait(30)
        self._output.close()
        self._log.close()
        return self.notes.read()
