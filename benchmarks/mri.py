"""MRI: `darwin mri` of two folders of 1.1 B parameters against the plain torch loop, and against reading the files.

Whole processes are compared, as a user starts them, and beside them the work alone, start and imports left out. All
files are in the page cache for everyone: what is measured is the work, not a disk.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from common import (
    DARWIN,
    HERE,
    Goal,
    Run,
    arguments,
    in_turns,
    keep,
    load,
    machine,
    make_models,
    run,
    summary,
    versions,
    warm,
)
from report import report

OURS, LOOP, INSIDE = "darwin mri", "torch loop", "diagnose, without the command"
READ, READ_ALL, MAP, MAP_ALL = "read", "read, all cores", "map and sum", "map and sum, all cores"


def main() -> None:
    """Measure, keep the result, and print the table."""
    given = arguments(__doc__, rounds=3)
    father, mother = make_models(given.work)
    files = sorted([*father.glob("*.safetensors"), *mother.glob("*.safetensors")])
    size = sum(path.stat().st_size for path in files)
    python, rates, cores = sys.executable, HERE / "rates.py", str(machine()["cores"])
    commands: dict[str, list[str | Path]] = {
        OURS: [DARWIN, "mri", father, mother, "--json"],
        LOOP: [python, HERE / "torch_loop.py", father, mother],
        INSIDE: [python, HERE / "diagnose.py", father, mother],
        READ: [python, rates, "read", *files],
        READ_ALL: [python, rates, "read", *files, "--threads", cores],
        MAP: [python, rates, "map", *files],
        MAP_ALL: [python, rates, "map", *files, "--threads", cores],
    }

    def once(name: str) -> Run:
        warm(files)
        return run(commands[name])

    contenders = {name: partial(once, name) for name in commands}
    before = load()
    agreement = agree(commands[OURS], commands[LOOP], given.work)
    runs = in_turns(contenders, given.rounds)
    found = summary(runs, size)

    def times(one: str, other: str, of: str) -> float:
        return found[one][of] / found[other][of]

    goals = [
        Goal("torch loop / darwin mri, time", times(LOOP, OURS, "seconds"), "at least", 15),
        Goal("torch loop / diagnose, work alone", times(LOOP, INSIDE, "inside_seconds")),
        Goal("darwin mri / read, rate", times(OURS, READ, "rate"), "at least", 0.4),
        Goal("diagnose / read, work alone", times(INSIDE, READ, "inside_rate")),
        Goal("diagnose / read on all cores, work alone", times(INSIDE, READ_ALL, "inside_rate")),
    ]
    kept = keep(
        given.out,
        runs,
        goals,
        versions=versions("darwinmerge", "numpy", "numba", "torch", "safetensors"),
        load={"before": before, "after": load()},
        bytes=size,
        summary=found,
        agreement=agreement,
    )
    print(report(kept))


def agree(ours: list[str | Path], loop: list[str | Path], work: Path) -> dict[str, float]:
    """The most that the two differ by, over all tensors; these turns are not counted: they compile and warm up."""
    others = work / "torch_loop.json"
    figures = json.loads(subprocess.run(ours, stdout=subprocess.PIPE, check=True).stdout)
    run([*loop, "--json", others])
    theirs = dict(zip(("father", "mother"), json.loads(others.read_text()), strict=True))
    pairs = [(row[who], theirs[who][row["name"]]) for row in figures for who in ("father", "mother")]
    return {
        "norm: largest relative difference": max(abs(a["norm"] / b["norm"] - 1) for a, b in pairs),
        "std: largest relative difference": max(abs(a["std"] / b["std"] - 1) for a, b in pairs),
        "entropy: largest difference, bits": max(abs(a["entropy"] - b["entropy"]) for a, b in pairs),
    }


if __name__ == "__main__":
    main()
