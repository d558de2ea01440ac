"""What the benchmarks share: whole processes measured in turns, goals, and a result that says where it was measured.

A speed is only worth something beside another one measured in the same minutes on the same machine, so contenders
take turns (A B A B), medians are compared, and the result carries the machine, the versions, the commit and the load.

Memory is told twice. *Peak memory* is what the kernel records of the largest process (wait4, as `/usr/bin/time`
shows it); it counts pages of mapped files too, which are the page cache's and cost nobody anything. *Private memory*
is what the processes asked for themselves, read every 20 ms while they run.

This module imports the standard library only: a child starts as large as its parent, and the kernel remembers.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from models import WORK

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
DARWIN = Path(sys.executable).with_name("darwin")
SAMPLE = 0.02  # seconds between two looks at the private memory
UNUSUAL = ("PYTHONDONTWRITEBYTECODE",)  # settings that would slow every start down, and that users don't have
OFFLINE = {"HF_HUB_OFFLINE": "1"}  # nothing that is measured waits for a network


@dataclass(frozen=True)
class Run:
    """One process, from start to end."""

    seconds: float
    cpu_seconds: float  # of all threads
    peak_bytes: int  # largest resident set of any process of it, mapped files included
    private_bytes: int  # largest sum of anonymous memory over its processes
    said: dict[str, Any]  # the JSON object on its last line, of the scripts that print one


@dataclass(frozen=True)
class Goal:
    """A ratio, and what was set out for; without a limit, it is told for its own sake."""

    name: str
    reached: float
    sense: Literal["at least", "at most", ""] = ""
    limit: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached, where there is one."""
        if not self.sense:
            return None
        return self.reached >= self.limit if self.sense == "at least" else self.reached <= self.limit


def run(command: Sequence[str | Path]) -> Run:
    """Run a command to its end, and measure it; exits where it fails, with what it said."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        done, private = threading.Event(), [0]
        started = perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in UNUSUAL} | OFFLINE,
        )

        def watch() -> None:
            while not done.wait(SAMPLE):
                private[0] = max(private[0], _private_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        output.seek(0)
        errors.seek(0)
        lines, complaint = output.read().splitlines(), errors.read()
    if process.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit {process.returncode}\n{complaint[-4000:]}")
    last = lines[-1] if lines else ""
    said = json.loads(last) if last.startswith("{") and last.endswith("}") else {}
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, private[0], said)


def _private_bytes(pid: int) -> int:
    """Anonymous resident memory of a process and its descendants; 0 for one that has just ended."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            total += sum(_private_bytes(int(child)) for child in children)
    except OSError:
        pass
    return total


def in_turns(contenders: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Every contender once in each round, in order."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, contender in contenders.items():
            runs[name].append(contender())
            print(f"round {number} of {rounds}: {name}: {runs[name][-1].seconds:.2f} s", file=sys.stderr, flush=True)
    return runs


def summary(runs: Mapping[str, Sequence[Run]], size: int) -> dict[str, dict[str, float]]:
    """Medians of every contender, and the rates at which it gets through `size` bytes.

    What is *inside* is what a process says of itself: the work alone, without its start and imports; 0 where it says
    nothing.
    """
    found = {}
    for name, those in runs.items():
        seconds = [run.seconds for run in those]
        inside = statistics.median(run.said.get("seconds", 0.0) for run in those)
        found[name] = {
            "seconds": statistics.median(seconds),
            "lowest": min(seconds),
            "highest": max(seconds),
            "rate": size / statistics.median(seconds),
            "inside_seconds": inside,
            "inside_rate": size / inside if inside else 0.0,
            "cpu_seconds": statistics.median(run.cpu_seconds for run in those),
            "peak_bytes": statistics.median(run.peak_bytes for run in those),
            "private_bytes": statistics.median(run.private_bytes for run in those),
        }
    return found


def warm(files: Iterable[Path]) -> None:
    """Read files once, so that every contender finds them in the page cache."""
    buffer = bytearray(8 << 20)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def machine() -> dict[str, Any]:
    """What this is measured on, without names."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line.partition(":")[2].strip() for line in information.open() if line.startswith("model name")]
        cpu = models[0] if models else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of packages here."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def commit() -> str:
    """The commit measured, with a plus where the tree is not clean; empty outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", "workload").strip()
    return git("rev-parse", "--short", "HEAD").strip() + ("+" if changed else "")


def arguments(description: str | None, rounds: int = 0) -> argparse.Namespace:
    """Command line of a benchmark: `work`, `out`, and `rounds` where its contenders take turns."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(
        description=(description or "").split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds, help="turns of each contender")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the models, kept between runs; up to 10 GB")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="where the result goes, as JSON")
    return parser.parse_args()


def make_models(work: Path) -> tuple[Path, Path]:
    """The two model folders, made where they are not there yet, by a process of its own."""
    subprocess.run([sys.executable, HERE / "models.py", "--work", work], check=True)
    return work / "father", work / "mother"


def keep(path: Path, runs: Mapping[str, Sequence[Run]], goals: Sequence[Goal], **rest: Any) -> dict[str, Any]:
    """Write a result, with where and of what it is, and give it back."""
    content = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        **rest,
        "goals": [{**asdict(goal), "met": goal.met} for goal in goals],
        "runs": {name: [asdict(run) for run in those] for name, those in runs.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return content


def load() -> float:
    """Processes that wanted a processor, averaged over the last minute; this one's contenders among them."""
    return round(os.getloadavg()[0], 2)
