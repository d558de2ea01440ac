"""Merge to disk: `darwin merge` of two folders of 1.1 B parameters against `mergekit-yaml`, the same method.

DARE-TIES with Father as the base and Mother as the one model: half of the way, 90 % of the differences kept, nothing
rescaled. mergekit lives in a virtual environment of its own, made here on the first run, with the same torch. Parents
are in the page cache for both; what a run before wrote is removed, and its memory is as free as any, before the next.
"""

import json
import os
import shutil
import subprocess
import sys
import time
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
    make_models,
    run,
    summary,
    versions,
    warm,
)
from report import report

OURS, PEER = "darwin merge", "mergekit-yaml"
FIRST = "darwin merge, parents not seen before"  # so it hashes them; later merges remember
WRITE, WRITE_WAIT = "write", "write, and wait for the disk"
GENOME = "ratio=0.5,attn=0.5,ffn=0.5,embed=0.5,density_b=0.9"
CONFIGURATION = """\
merge_method: dare_ties
base_model: {father}
models:
  - model: {mother}
    parameters: {{weight: 0.5, density: 0.9}}
parameters: {{normalize: false, rescale: false}}
dtype: bfloat16
"""
SETTLE = 3.0  # seconds after a child is removed: its memory is free by then, and as slow to get as any
REQUIREMENTS = HERE / "mergekit.txt"


def mergekit(work: Path) -> Path:
    """The `mergekit-yaml` of a virtual environment made for it, with our version of torch."""
    folder = work / "mergekit-venv"
    stamp, wanted = folder / "made_from.txt", REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print("mergekit: making its virtual environment ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
        torch = versions("torch")["torch"].partition("+")[0]
        subprocess.run([*install, *index, f"torch=={torch}"], check=True)
        subprocess.run([*install, "--no-deps", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return folder / "bin" / "mergekit-yaml"


def pinned(program: Path) -> dict[str, str]:
    """Versions of mergekit and of what it computes with, in its own environment."""
    listing = [str(program.with_name("python")), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    found = json.loads(subprocess.run(listing, check=True, capture_output=True, text=True).stdout)
    return {of["name"]: of["version"] for of in found if of["name"] in ("mergekit", "torch", "transformers")}


def clear(path: Path) -> None:
    """Remove what a run before wrote."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def main() -> None:
    """Measure, compare the children, keep the result, and print the table."""
    given = arguments(__doc__, rounds=3)
    work: Path = given.work
    father, mother = make_models(work)
    theirs = mergekit(work)
    configuration = work / "mergekit.yaml"
    configuration.write_text(CONFIGURATION.format(father=father, mother=mother))
    files = sorted([*father.glob("*.safetensors"), *mother.glob("*.safetensors")])
    size = sum(path.stat().st_size for path in father.glob("*.safetensors"))
    outputs = {name: work / f"out-{number}" for number, name in enumerate((OURS, FIRST, PEER, WRITE, WRITE_WAIT))}
    write: list[str | Path] = [sys.executable, HERE / "rates.py", "write"]
    commands: dict[str, list[str | Path]] = {
        OURS: [
            *(DARWIN, "merge", "--father", father, "--mother", mother, "--genome", GENOME, "--seed", "1"),
            *("--set", "mri.weight=0", "-o", outputs[OURS]),
        ],
        FIRST: [
            *("env", f"XDG_CACHE_HOME={outputs[FIRST]}-cache", DARWIN, "merge", "--father", father, "--mother", mother),
            *("--genome", GENOME, "--seed", "1", "--set", "mri.weight=0", "-o", outputs[FIRST]),
        ],
        PEER: [theirs, configuration, outputs[PEER], "--random-seed", "1", "--quiet"],
        WRITE: [*write, outputs[WRITE], "--bytes", str(size)],
        WRITE_WAIT: [*write, outputs[WRITE_WAIT], "--bytes", str(size), "--fsync"],
    }

    def once(name: str) -> Run:
        for path in (*outputs.values(), outputs[FIRST].with_name(f"{outputs[FIRST].name}-cache")):
            clear(path)
        time.sleep(SETTLE)
        warm(files)
        return run(commands[name])

    for name in (OURS, PEER):  # not counted: compiles, warms the libraries, and makes the children to be compared
        clear(outputs[name])
        run(commands[name])
    agreement = run([sys.executable, HERE / "agreement.py", father, mother, outputs[OURS], outputs[PEER]]).said
    before = load()
    runs = in_turns({name: partial(once, name) for name in commands}, given.rounds)
    after = load()
    for path in outputs.values():
        clear(path)

    found = summary(runs, size)

    def times(one: str, other: str, of: str) -> float:
        return found[one][of] / found[other][of]

    goals = [
        Goal("mergekit-yaml / darwin merge, time", times(PEER, OURS, "seconds"), "at least", 10),
        Goal("mergekit-yaml / darwin merge, parents not seen before, time", times(PEER, FIRST, "seconds")),
        Goal("darwin merge / mergekit-yaml, peak memory", times(OURS, PEER, "peak_bytes"), "at most", 0.25),
        Goal("darwin merge / mergekit-yaml, private memory", times(OURS, PEER, "private_bytes"), "at most", 0.25),
        Goal("darwin merge / write, time", times(OURS, WRITE, "seconds")),
        Goal("darwin merge / write, and wait for the disk, time", times(OURS, WRITE_WAIT, "seconds")),
    ]
    kept = keep(
        given.out,
        runs,
        goals,
        versions={**versions("darwinmerge", "numpy", "numba"), **pinned(theirs)},
        load={"before": before, "after": after},
        bytes=size,
        summary=found,
        agreement=agreement,
    )
    print(report(kept))


if __name__ == "__main__":
    main()
