"""How fast this machine reads and writes: the bound that any tool of this kind runs into.

Reading is of files in the page cache: `read` copies them into a buffer that is used again and again, `map` maps them
and sums them up where they lie. Writing is of bytes made beforehand, without and with a wait for the disk.
"""

import argparse
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

BLOCK = 8 << 20
Part = tuple[Path, int, int]  # of a file, from one byte to another


def parts(files: Sequence[Path]) -> list[Part]:
    """The files in blocks."""
    return [
        (path, start, min(start + BLOCK, path.stat().st_size))
        for path in files
        for start in range(0, path.stat().st_size, BLOCK)
    ]


def reader(files: Sequence[Path]) -> Callable[[Part], None]:
    """A function that copies a part into a buffer of its thread."""
    handles = {path: os.open(path, os.O_RDONLY) for path in files}
    own = threading.local()

    def read(part: Part) -> None:
        path, start, stop = part
        if not hasattr(own, "buffer"):
            own.buffer = memoryview(bytearray(BLOCK))
        os.preadv(handles[path], [own.buffer[: stop - start]], start)

    return read


def mapper(files: Sequence[Path]) -> Callable[[Part], None]:
    """A function that sums up a part where it lies."""
    import numpy as np

    maps = {path: np.memmap(path, np.uint8, "r") for path in files}

    def add_up(part: Part) -> None:
        path, start, stop = part
        maps[path][start : start + (stop - start) // 8 * 8].view(np.uint64).sum()

    return add_up


def write(path: Path, size: int, wait: bool) -> None:
    """Write so many bytes, and wait for the disk where asked to."""
    block = os.urandom(BLOCK)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, BLOCK):
            file.write(block[: size - start])
        if wait:
            os.fsync(file.fileno())


def main() -> None:
    """Do one of these once, and print how long it took, start of the process left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("way", choices=["read", "map", "write"])
    parser.add_argument("files", type=Path, nargs="+", help="to read, or the one to write")
    parser.add_argument("--threads", type=int, default=1, help="of read and map (default: 1)")
    parser.add_argument("--bytes", type=int, default=1 << 30, help="to write (default: 1 GiB)")
    parser.add_argument("--fsync", action="store_true", help="wait until the disk has what was written")
    given = parser.parse_args()
    if given.way == "write":
        started = perf_counter()
        write(given.files[0], given.bytes, given.fsync)
        size = given.bytes
    else:
        visit = (reader if given.way == "read" else mapper)(given.files)
        started = perf_counter()
        with ThreadPoolExecutor(given.threads) as pool:
            list(pool.map(visit, parts(given.files)))
        size = sum(path.stat().st_size for path in given.files)
    print(json.dumps({"seconds": perf_counter() - started, "bytes": size}))


if __name__ == "__main__":
    main()
