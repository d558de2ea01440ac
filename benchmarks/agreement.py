"""How far two merges of the same parents agree where the method is the same: one task vector, half of it, 90 % kept.

The masks are random, so what is masked differs; which share is, how far the rest moved, and where both moved, the
elements themselves are comparable.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open

SAMPLE = 1 << 20  # elements of every tensor, from its start


def main() -> None:
    """Compare two children of the same parents, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for name in ("father", "mother", "ours", "theirs"):
        parser.add_argument(name, type=Path, help="a folder with one model.safetensors, or several in shards")
    given = parser.parse_args()
    folders = [tensors(path) for path in (given.father, given.mother, given.ours, given.theirs)]
    if any(folder.keys() != folders[0].keys() for folder in folders):
        parser.error("the folders don't have the same tensors")
    sums = torch.zeros(10, dtype=torch.float64)
    largest = 0.0
    for name in sorted(folders[0]):
        read = [sample(folder[name], name) for folder in folders]
        if len({(of.dtype, of.shape) for of in read}) > 1:
            parser.error(f"tensor {name}: dtypes or shapes differ")
        figures, steps = compare(*read)
        sums += figures
        largest = max(largest, steps)
    differ, moved_one, moved_two, move_one, square_one, move_two, square_two, both, same, near = sums.tolist()
    said = {
        "elements compared, in which the parents differ": differ,
        "darwin: share left as Father's": 1 - moved_one / differ,
        "mergekit: share left as Father's": 1 - moved_two / differ,
        "darwin: share of the way to Mother, where moved": move_one / square_one,
        "mergekit: share of the way to Mother, where moved": move_two / square_two,
        "moved in both: share of equal bits": same / both,
        "moved in both: share within one BF16 step": near / both,
        "moved in both: most BF16 steps apart": largest,
    }
    print(json.dumps(said))


def tensors(folder: Path) -> dict[str, Path]:
    """The file of every tensor of a folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def sample(path: Path, name: str) -> torch.Tensor:
    """The first elements of one tensor."""
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor.flatten()[:SAMPLE]


def compare(a: torch.Tensor, b: torch.Tensor, one: torch.Tensor, two: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Sums over a tensor, in the order that `main` takes them apart in, and the most steps between the children.

    A step is that between neighbours in BF16 where the larger parent lies: near zero the children's own steps are as
    small as one likes, and say nothing.
    """
    a, b, one, two = (values[a != b].double() for values in (a, b, one, two))
    way = b - a
    moved = [child != a for child in (one, two)]
    moves = [
        part[where].sum()
        for child, where in zip((one, two), moved, strict=True)
        for part in ((child - a) * way, way.square())
    ]
    both = moved[0] & moved[1]
    _, exponent = torch.frexp(torch.maximum(a.abs(), b.abs()))
    steps = ((one - two).abs() / torch.exp2(exponent - 8.0))[both]  # 8 bits of significand
    counts = [both.sum(), (steps == 0).sum(), (steps <= 1).sum()]
    sums = torch.stack([torch.tensor(len(a)), *(where.sum() for where in moved), *moves, *counts])
    return sums.double(), float(steps.max()) if len(steps) else 0.0


if __name__ == "__main__":
    main()
