"""A candidate's overhead: what it costs beside its benchmark of 100 questions, in Darwin and in `mergekit-evolve`.

The pair is the example's, SmolLM2 of 135 M parameters and its fine-tune (`examples/smollm2`). Darwin's candidates are a
worker's own (`candidates.py`), parents and model at hand. `mergekit-evolve` searches the same pair by DARE-TIES on
disk, with lm-eval's `hf` model, the same questions, batches and threads; of two whole runs that differ in the number of
candidates only, the difference is theirs. The benchmark's own time is Darwin's for both.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import HERE, ROOT, Goal, Run, arguments, keep, load, run, versions, warm
from merge import REQUIREMENTS, environment, pinned
from report import overhead

EXAMPLE = ROOT / "examples" / "smollm2"
LIMIT = 0.03  # of the benchmark's time
GENERATION, BUDGETS = 4, (4, 12)  # candidates a generation, and in all
PEER = "mergekit-evolve, on disk"
GENOME = """\
genome:
  models: [{mother}]
  merge_method: dare_ties
  base_model: {father}
  normalize: false
tasks: [{{name: {task}, metric: "acc,none"}}]
"""
# It asks Ray for a GPU, and wants a module of lm-eval's that loads with vLLM only; `hf` on a CPU uses neither.
PRETENDED = {"RAY_OVERRIDE_RESOURCES": '{"GPU": 1}', "CUDA_VISIBLE_DEVICES": "0", "RAY_USAGE_STATS_ENABLED": "0"}
SHIM = (
    'import types, lm_eval.models; lm_eval.models.vllm_causallms = types.SimpleNamespace(VLLM=type("VLLM", (), {}))\n'
)


def parents_of(work: Path) -> Path:
    """The example's two parents, made where they are not there yet."""
    folder = work / "smollm2"
    subprocess.run([sys.executable, EXAMPLE / "make_parents.py", "--out", folder], check=True, stdout=sys.stderr)
    return folder


def evolve(work: Path) -> Path:
    """The `mergekit-evolve` of a virtual environment made for it."""
    programs = environment(work / "evolve-venv", REQUIREMENTS, HERE / "evolve.txt")
    (packages,) = programs.parent.glob("lib/python*/site-packages")
    (packages / "no_vllm.pth").write_text(SHIM)
    return programs / "mergekit-evolve"


def write_task(asked: Mapping[str, Any], folder: Path) -> str:
    """The questions that Darwin has asked as a task of their own; its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name, rows = f"{asked['task']}_asked", (EXAMPLE / "rows" / "geo.jsonl").read_text().splitlines(keepends=True)
    (folder / "asked.jsonl").write_text("".join(rows[position] for position in asked["positions"]))
    text = (EXAMPLE / "tasks" / "geo.yaml").read_text()
    text = text.replace(asked["task"], name).replace("../rows/geo.jsonl", str(folder / "asked.jsonl"))
    (folder / "asked.yaml").write_text(text)
    return name


def searched(program: Path, parents: Path, task: str, work: Path, candidates: int, threads: int) -> Run:
    """One run of `mergekit-evolve`, from start to end."""
    configuration, storage = work / "evolve.yaml", work / "evolve-storage"
    configuration.write_text(GENOME.format(father=parents / "father", mother=parents / "mother", task=task))
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir()
    os.environ |= {**PRETENDED, "OMP_NUM_THREADS": str(threads)}
    options = {
        "--max-fevals": candidates,
        "--force-population-size": GENERATION,
        "--num-gpus": 1,
        "--batch-size": 16,
        "--random-seed": 1,
        "--storage-path": storage,
        "--task-search-path": work / "asked",
    }
    switches = ("--no-merge-cuda", "--no-in-memory", "--no-save-final-model", "--no-reshard")
    given = [str(word) for option in options.items() for word in option]
    return run([program, *given, *switches, configuration])


def parts(found: list[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over candidates of one kind."""
    medians = {name: statistics.median(one[name] for one in found) for name in ("ask", "become", "rest")}
    spent = statistics.median(one["become"] + one["rest"] for one in found)
    return {**medians, "overhead": spent, "share": spent / medians["ask"]}


def main() -> None:
    """Measure, keep the result, and print the table."""
    given = arguments(__doc__, rounds=1)
    work: Path = given.work.resolve()
    parents, theirs, store = parents_of(work), evolve(work), work / "overhead-store"
    warm(parents.glob("*/*.safetensors"))
    runs: dict[str, list[Run]] = {"darwin": [], **{f"{PEER}, {budget}": [] for budget in BUDGETS}}
    before = load()
    for _ in range(given.rounds):
        shutil.rmtree(store, ignore_errors=True)
        ours = run([sys.executable, HERE / "candidates.py", "--parents", parents, "--work", store])
        runs["darwin"].append(ours)
        task = write_task(ours.said, work / "asked")
        for budget in BUDGETS:
            runs[f"{PEER}, {budget}"].append(searched(theirs, parents, task, work, budget, ours.said["threads"]))
    after = load()
    told = [one for ours in runs["darwin"] for one in ours.said["candidates"]]
    kinds = dict.fromkeys(one["changed"] for one in told)
    found = {f"darwin, {kind} changed": parts([one for one in told if one["changed"] == kind]) for kind in kinds}
    few, many = (statistics.median(of.seconds for of in runs[f"{PEER}, {budget}"]) for budget in BUDGETS)
    ask = statistics.median(one["ask"] for one in told)
    spent = (many - few) / (BUDGETS[1] - BUDGETS[0]) - ask
    most = max(of["overhead"] for of in found.values())
    goals = [
        *(Goal(f"{name}: overhead / benchmark", of["share"], "at most", LIMIT) for name, of in found.items()),
        Goal(f"{PEER}: overhead / benchmark", spent / ask),
        Goal("mergekit-evolve / darwin, overhead", spent / most),
    ]
    kept = keep(
        given.out,
        runs,
        goals,
        versions={**versions("darwinmerge", "lm-eval"), **pinned(theirs)},
        load={"before": before, "after": after},
        candidates={**found, PEER: {"ask": ask, "overhead": spent, "share": spent / ask}},
        remarks=[
            f"mergekit-evolve took {few:.0f} s for {BUDGETS[0]} candidates and {many:.0f} s for {BUDGETS[1]}, "
            "its start included."
        ],
    )
    print(overhead(kept))


if __name__ == "__main__":
    main()
