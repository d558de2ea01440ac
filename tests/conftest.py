"""What every test may use: reproducible hypothesis, and the models and questions that lie outside the repository."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
