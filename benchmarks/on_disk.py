"""Candidates by way of a disk, one after the other, as `mergekit-evolve` makes them; how long each part took.

`mergekit-yaml` writes a folder, transformers loads it, lm-eval's own loop asks the questions. The merge is a process of
its own, and the time that one takes to start and say `--help` is not counted: a search needn't start one each time.
Prints a JSON object as `candidates.py` does; the first candidate is not told.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from darwinmerge.evaluation.harness import quiet

CANDIDATES = 4
CONFIGURATION = """\
merge_method: dare_ties
base_model: {father}
models:
  - model: {mother}
    parameters: {{weight: {weight}, density: {density}}}
parameters: {{normalize: false, rescale: false}}
dtype: bfloat16
"""


def seconds_of(*command: str | Path) -> float:
    """Seconds that a command takes, from start to end."""
    started = perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return perf_counter() - started


def asked(lm: Any, task: str, manager: Any) -> tuple[float, float]:
    """Seconds of asking a model the questions of a task, and of all that lm-eval does around that."""
    from lm_eval import simple_evaluate

    inside, answer = 0.0, lm.loglikelihood

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        started = perf_counter()
        found = answer(*args, **kwargs)
        inside += perf_counter() - started
        return found

    lm.loglikelihood = timed
    started = perf_counter()
    simple_evaluate(model=lm, tasks=[task], task_manager=manager, bootstrap_iters=0)
    return inside, perf_counter() - started - inside


def main() -> None:
    """Merge, load and ask the candidates, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--mergekit", type=Path, required=True, help="the mergekit-yaml to run")
    parser.add_argument("--parents", type=Path, required=True, help="folder with father/ and mother/")
    parser.add_argument("--tasks", type=Path, required=True, help="folder with the task")
    parser.add_argument("--task", required=True, help="its name")
    parser.add_argument("--threads", type=int, required=True, help="of torch")
    parser.add_argument("--work", type=Path, required=True, help="a folder for children")
    given = parser.parse_args()
    quiet()
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(given.threads)
    manager = TaskManager(include_path=str(given.tasks), include_defaults=False)
    given.work.mkdir(parents=True, exist_ok=True)
    configuration, child, rng, told = given.work / "merge.yaml", given.work / "child", random.Random(1), []
    for _ in range(CANDIDATES):
        shutil.rmtree(child, ignore_errors=True)
        genes = {"weight": rng.uniform(0.2, 0.8), "density": rng.uniform(0.5, 0.95)}
        parents = {who: given.parents / who for who in ("father", "mother")}
        configuration.write_text(CONFIGURATION.format(**parents, **genes))
        start = seconds_of(given.mergekit, "--help")
        merge = seconds_of(given.mergekit, configuration, child, "--random-seed", "1", "--quiet") - start
        started = perf_counter()
        lm = HFLM(pretrained=str(child), device="cpu", dtype="bfloat16", batch_size=16)
        loaded = perf_counter() - started
        ask, rest = asked(lm, given.task, manager)
        told.append({"changed": "all genes", "become": merge + loaded, "ask": ask, "rest": rest, "merge": merge})
        print(json.dumps(told[-1]), file=sys.stderr, flush=True)
    shutil.rmtree(child)
    print(json.dumps({"candidates": told[1:]}))


if __name__ == "__main__":
    main()
