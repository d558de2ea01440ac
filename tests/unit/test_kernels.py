"""What numba keeps on a disk is never older than the text that it was compiled from."""

import hashlib
import re
from pathlib import Path

import pytest

import darwinmerge

ROOT = Path(darwinmerge.__file__).parent
KEPT = sorted(path for path in ROOT.rglob("*.py") if "cache=True" in path.read_text())
NAMES = {f"{ROOT.name}.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}": path for path in KEPT}


def used(path: Path) -> list[Path]:
    """Files with kernels of which this one imports something: it is compiled into its own."""
    imported = re.findall(r"^from (\S+) import", path.read_text(), re.MULTILINE)
    return [NAMES[name] for name in imported if name in NAMES]


def test_files_with_kernels_are_found() -> None:
    assert {"kernel.py", "combine_kernel.py", "whole_kernel.py"} <= {path.name for path in KEPT}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_a_file_with_kernels_names_the_text_of_those_that_it_compiles_in(path: Path) -> None:
    """numba looks at a kernel's own file, and at no other, to see whether what it has kept is still right."""
    for other in used(path):
        assert not used(other), "a digest would have to go on through it"
        line = f"# Kept by numba with this file's text alone, so it names that of {other.name}: "
        line += hashlib.sha256(other.read_bytes()).hexdigest()[:16]
        assert line in path.read_text().splitlines(), f"write this line below the imports of {path}:\n{line}"
