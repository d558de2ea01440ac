"""What `darwin mri` computes, twice in one process, imports left out: first with what loads late, then warm."""

import argparse
import json
from pathlib import Path
from time import perf_counter

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.manifest import Mri
from darwinmerge.mri.table import diagnose


def main() -> None:
    """Diagnose both folders twice, and print the seconds of either time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("father", type=Path)
    parser.add_argument("mother", type=Path)
    given = parser.parse_args()
    seconds = []
    for _ in range(2):
        started = perf_counter()
        list(diagnose(ModelFolder(given.father), ModelFolder(given.mother), Mri()))
        seconds.append(perf_counter() - started)
    print(json.dumps({"first": seconds[0], "seconds": seconds[1]}))


if __name__ == "__main__":
    main()
