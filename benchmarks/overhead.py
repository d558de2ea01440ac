"""A candidate's overhead: what it costs beside its benchmark of 100 questions, in Darwin and by way of a disk.

The pair is the example's, SmolLM2 of 135 M parameters and its fine-tune (`examples/smollm2`). Darwin's candidates are a
worker's own (`candidates.py`), parents and model at hand. Beside them the same pair, questions, batches and threads by
what `mergekit-evolve` does by default: merged to a disk by mergekit, loaded by transformers, asked by lm-eval
(`on_disk.py`). It isn't that program itself: 0.1.5 asks Ray for a GPU and lm-eval for vLLM before it does anything.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import DARWIN, HERE, ROOT, Goal, Run, arguments, keep, load, run, versions, warm
from merge import mergekit, pinned
from report import overhead

EXAMPLE = ROOT / "examples" / "smollm2"
WHOLE = "ratio=1,attn=1,ffn=1,embed=1,density_b=1"  # all of Mother
LIMIT = 0.03  # of the benchmark's time
OURS, PEER = "darwin", "mergekit-yaml to a disk, transformers, lm-eval"


def parents_of(work: Path) -> Path:
    """The example's two parents as folders, made where they are not there yet: Mother is Father with her adapter."""
    folder = work / "smollm2"
    father, mother = folder / "father", folder / "mother"
    subprocess.run([sys.executable, EXAMPLE / "make_father.py", "--out", folder], check=True, stdout=sys.stderr)
    if not mother.exists():
        adapter = str(EXAMPLE / "adapter")
        parents = ["--father", str(father), "--mother", adapter, "--set", f"parents.mother.base={father}"]
        whole = ["--genome", WHOLE, "--set", "mri.weight=0", "-o", str(mother)]
        subprocess.run([DARWIN, "merge", *parents, *whole], check=True, stdout=sys.stderr)
    return folder


def write_task(asked: Mapping[str, Any], folder: Path) -> str:
    """The questions that Darwin has asked as a task of their own; its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name, rows = f"{asked['task']}_asked", (EXAMPLE / "rows" / "geo.jsonl").read_text().splitlines(keepends=True)
    (folder / "asked.jsonl").write_text("".join(rows[position] for position in asked["positions"]))
    text = (EXAMPLE / "tasks" / "geo.yaml").read_text()
    text = text.replace(asked["task"], name).replace("../rows/geo.jsonl", str(folder / "asked.jsonl"))
    (folder / "asked.yaml").write_text(text)
    return name


def parts(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over candidates of one kind."""
    medians = {name: statistics.median(one[name] for one in found) for name in ("ask", "become", "rest")}
    spent = statistics.median(one["become"] + one["rest"] for one in found)
    return {**medians, "overhead": spent, "share": spent / medians["ask"]}


def main() -> None:
    """Measure, keep the result, and print the table."""
    given = arguments(__doc__, rounds=1)
    work: Path = given.work.resolve()
    parents, theirs, store = parents_of(work), mergekit(work), work / "overhead-store"
    warm(parents.glob("*/*.safetensors"))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as workers have it: on a busy machine, spinning threads take turns
    runs: dict[str, list[Run]] = {OURS: [], PEER: []}
    before = load()
    for _ in range(given.rounds):
        shutil.rmtree(store, ignore_errors=True)
        ours = run([sys.executable, HERE / "candidates.py", "--parents", parents, "--work", store])
        asked: list[str | Path] = ["--task", write_task(ours.said, work / "asked"), "--tasks", work / "asked"]
        settings = [*asked, "--threads", str(ours.said["threads"]), "--work", work / "on-disk"]
        runs[OURS].append(ours)
        runs[PEER].append(
            run([sys.executable, HERE / "on_disk.py", "--mergekit", theirs, "--parents", parents, *settings])
        )
    after = load()
    told = {name: [one for each in those for one in each.said["candidates"]] for name, those in runs.items()}
    kinds = dict.fromkeys(one["changed"] for one in told[OURS])
    found = {f"{OURS}, {kind} changed": parts([c for c in told[OURS] if c["changed"] == kind]) for kind in kinds}
    peer = parts(told[PEER])
    goals = [
        *(Goal(f"{name}: overhead / benchmark", of["share"], "at most", LIMIT) for name, of in found.items()),
        Goal("by way of a disk: overhead / benchmark", peer["share"]),
        *(
            Goal(f"by way of a disk / {name}: overhead", peer["overhead"] / of["overhead"])
            for name, of in found.items()
        ),
    ]
    kept = keep(
        given.out,
        runs,
        goals,
        versions={**versions("darwinmerge", "lm-eval"), **pinned(theirs)},
        load={"before": before, "after": after},
        candidates={**found, PEER: peer},
    )
    print(overhead(kept))


if __name__ == "__main__":
    main()
