"""`darwin run` with its store in S3: killed once, it ends with the bytes of an undisturbed run on a disk."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from darwinmerge.report.summary import RunSummary
from darwinmerge.store import Store, layout, open_store
from tests.integration.conftest import World, command, darwin, lasting
from tests.integration.test_kill import wait_until
from tests.proxy import proxy
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def store(s3: S3, world: World, tmp_path: Path) -> Store:
    """The store of the world's manifest."""
    uri = f"s3://{BUCKET}/runs/{tmp_path.name}"
    world.edit("store", "uri", value=uri)
    return open_store(uri)


def kill_when_scores_are_stored(world: World, store: Store, count: int) -> None:
    """Start a run, and kill the runner and its workers as soon as so many chunks of scores are stored."""
    process = subprocess.Popen(
        command("run", world.manifest), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(lambda: process.poll() is not None or len(list(store.list("scores/"))) >= count)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_run_in_s3_that_was_killed_ends_as_one_on_a_disk(
    s3: S3, world: World, store: Store, undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(s3.endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", between.endpoint)
        kill_when_scores_are_stored(world, store, 10)
        run = darwin("run", world.manifest)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert between.count("^PUT .*/scores/") > 10
    assert between.repeated(r"^PUT .*(/scores/|\.safetensors)") == [], "what is stored is not computed again"
    assert run.returncode == 0, run.stdout + run.stderr
    assert lasting(store) == undisturbed.objects()
    summary, theirs = (
        RunSummary.model_validate_json(found)
        for found in (store.read(layout.SUMMARY), (undisturbed.store / layout.SUMMARY).read_bytes())
    )
    assert (summary.models, summary.verdict, summary.pairs) == (theirs.models, theirs.verdict, theirs.pairs)
    assert summary.child
    assert summary.child.path == f"{store.uri}/{layout.child(summary.child.recipe)}".rstrip("/")
    assert f"Record:     {store.uri}/summary.json" in run.stdout

    world.edit("output", "uri", value=str(tmp_path / "child"))
    published = darwin("run", world.manifest)
    assert published.returncode == 0, published.stdout + published.stderr
    written = {name: (tmp_path / "child" / name).read_bytes() for name in summary.child.files}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in written.items()} == summary.child.files
