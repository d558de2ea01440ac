"""A candidate's overhead: what it costs beside its benchmark of 100 questions, in Darwin and by way of a disk.

The pair is the example's, SmolLM2 of 135 M parameters and its fine-tune (`examples/smollm2`). Darwin's candidates are a
worker's own (`candidates.py`), parents and model at hand, by DareTies without a base and with one. Beside them the same
pair, questions, batches and threads by what `mergekit-evolve` does by default: merged to a disk by mergekit, loaded by
transformers, asked by lm-eval (`on_disk.py`). It isn't that program itself: 0.1.5 asks Ray for a GPU and lm-eval for
vLLM before it does anything.
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
HALF = "ratio=0.5,attn=0.5,ffn=0.5,embed=0.5,density_b=1"
LIMIT = 0.03  # of the benchmark's time
OURS, BASED, PEER = "darwin", "darwin, with a base", "mergekit-yaml to a disk, transformers, lm-eval"


def parents_of(work: Path) -> Path:
    """A folder with the example's parents and a base, made where they are not there yet.

    Mother is Father with her adapter, and the base is halfway, so that both have a task vector.
    """
    folder = work / "smollm2"
    father, mother, base = (folder / who for who in ("father", "mother", "base"))
    subprocess.run([sys.executable, EXAMPLE / "make_father.py", "--out", folder], check=True, stdout=sys.stderr)
    adapter: list[str | Path] = ["--mother", EXAMPLE / "adapter", "--set", f"parents.mother.base={father}"]
    for made, of_mother, genome in ((mother, adapter, WHOLE), (base, ["--mother", mother], HALF)):
        if not made.exists():
            settings = ["--genome", genome, "--set", "mri.weight=0", "-o", str(made)]
            subprocess.run([DARWIN, "merge", "--father", father, *of_mother, *settings], check=True, stdout=sys.stderr)
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


def by_change(name: str, told: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """A contender's candidates by what each changed of the one before it."""
    kinds = dict.fromkeys(one["changed"] for one in told)
    return {f"{name}, {kind} changed": parts([one for one in told if one["changed"] == kind]) for kind in kinds}


def main() -> None:
    """Measure, keep the result, and print the table."""
    given = arguments(__doc__, rounds=1)
    work: Path = given.work.resolve()
    parents, theirs, store = parents_of(work), mergekit(work), work / "overhead-store"
    warm(parents.glob("*/*.safetensors"))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as workers have it: on a busy machine, spinning threads take turns
    runs: dict[str, list[Run]] = {OURS: [], BASED: [], PEER: []}
    before = load()
    for _ in range(given.rounds):
        for name, more in ((OURS, []), (BASED, ["--base"])):
            shutil.rmtree(store, ignore_errors=True)
            ours = run([sys.executable, HERE / "candidates.py", "--parents", parents, "--work", store, *more])
            runs[name].append(ours)
        asked: list[str | Path] = ["--task", write_task(ours.said, work / "asked"), "--tasks", work / "asked"]
        settings = [*asked, "--threads", str(ours.said["threads"]), "--work", work / "on-disk"]
        runs[PEER].append(
            run([sys.executable, HERE / "on_disk.py", "--mergekit", theirs, "--parents", parents, *settings])
        )
    after = load()
    told = {name: [one for each in those for one in each.said["candidates"]] for name, those in runs.items()}
    found, based = (by_change(name, told[name]) for name in (OURS, BASED))
    peer = parts(told[PEER])
    goals = [
        *(
            Goal(f"{name}: overhead / benchmark", of["share"], "at most", LIMIT)
            for name, of in {**found, **based}.items()
        ),
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
        candidates={**found, **based, PEER: peer},
    )
    print(overhead(kept))


if __name__ == "__main__":
    main()
