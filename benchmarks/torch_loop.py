"""The plain way to diagnose two model folders: a loop over their tensors in torch, float32, on all cores.

Peer of `darwin mri`, as a whole process. Each tensor is read by safetensors, cast to float32, and its norm, standard
deviation and the entropy of a histogram of 256 bins are taken by torch's own functions.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import torch
from safetensors import safe_open

BINS = 256


def diagnose(tensor: torch.Tensor) -> dict[str, float]:
    """Norm, standard deviation and entropy in bits of one tensor."""
    values = tensor.float()
    share = torch.histc(values, BINS)
    share = share[share > 0] / share.sum()
    return {
        "norm": values.norm().item(),
        "std": values.std().item(),
        "entropy": -(share * share.log2()).sum().item(),
    }


def figures(folder: Path) -> dict[str, dict[str, float]]:
    """Figures of every tensor of a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dictionary)
                found[name] = diagnose(file.get_tensor(name))
    return found


def main() -> None:
    """Diagnose the folders, and print the time from here on, imports left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="write the figures of every tensor of every folder to this file")
    given = parser.parse_args()
    started = perf_counter()
    found = [figures(folder) for folder in given.folders]
    seconds = perf_counter() - started
    if given.json:
        given.json.write_text(json.dumps(found))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
