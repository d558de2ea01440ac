"""A child that goes to a volume claim with a parent on it: one Pod writes there, and the server reads from there."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.publish.lineage import CARD
from darwinmerge.store.layout import CHILD_RECORD, CHILD_RUN
from darwinmerge_operator.job import LABEL
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.operated import RUN_SECONDS, Json, Operator, Run
from tests.clustered import edited
from tests.integration.conftest import World

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(2 * RUN_SECONDS)]

CLAIM = "models"
OUTPUT = f"pvc://{CLAIM}/children/tiny"


@dataclass(frozen=True)
class Story:
    """What was seen of the run."""

    run: Run
    volume: Path
    modes: dict[str, bool]  # whether Jobs of a stage mount the claim for writing


@pytest.fixture(scope="module")
def volume(
    kubernetes: Kubernetes, furnished: str, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder of this machine, the cluster's one node, as a claim: Father, and a place where workers may write."""
    folder = tmp_path_factory.mktemp("volume")
    shutil.copytree(material / "parents" / "tiny-qwen35" / "father", folder / "father")
    (folder / "children").mkdir()
    (folder / "children").chmod(0o777)  # no kubelet gives a hostPath to an fsGroup
    folder.chmod(0o755)
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    name = f"{furnished}-{CLAIM}"
    on_node: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": size,
            "accessModes": modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": modes,
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": size},
        },
    }
    kubernetes.create(on_node)
    kubernetes.create(claim, furnished)
    yield folder
    kubernetes.of("PersistentVolumeClaim").delete(CLAIM, furnished)
    kubernetes.of("PersistentVolume").delete(name)


@pytest.fixture(scope="module")
def story(
    kubernetes: Kubernetes, images: tuple[str, str], small_run: Callable[[str], Run], volume: Path
) -> Iterator[Story]:
    """The run, at its end."""
    plain = small_run("on-a-claim")
    edits: dict[str, Any] = {
        "spec.parents.father.uri": f"pvc://{CLAIM}/father",
        "spec.output.uri": OUTPUT,
        "spec.output.publishIf": "Always",
        "spec.cluster.serve": {"replicas": 0},
    }
    run = replace(plain, document=edited(plain.document, edits))
    operator = Operator(kubernetes, run.namespace)
    operator.install(*images, "serving.enabled=true")
    modes: dict[str, bool] = {}

    def look() -> bool:
        for job in run.jobs():
            modes[job["metadata"]["labels"][f"{LABEL}/stage"]] = writes(job)
        return bool(run.condition("Complete") or run.condition("Failed"))

    run.apply()
    until(look, RUN_SECONDS, 0.2)
    run.wait("Complete")
    yield Story(run, volume, modes)
    run.delete()
    operator.uninstall()


def writes(job: Json) -> bool:
    """Whether a Job mounts the claim for writing; each has it, since a parent is there."""
    spec = job["spec"]["template"]["spec"]
    (source,) = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == source["name"]]
    assert mount.get("readOnly", False) == source["persistentVolumeClaim"].get("readOnly", False)
    return not mount.get("readOnly", False)


def there(volume: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (volume / "children" / "tiny").iterdir()}


def test_the_child_is_on_the_claim_and_that_of_one_machine_bit_for_bit(story: Story, on_one_machine: World) -> None:
    objects = on_one_machine.objects()
    here = {key.rpartition("/")[2]: data for key, data in objects.items() if key.startswith("children/")}
    found = there(story.volume)
    assert found.keys() == {*here, CHILD_RUN}
    assert {name: found[name] for name in here if name != CARD} == {n: here[n] for n in here if n != CARD}


def test_it_is_where_the_manifest_says_for_whoever_asks(story: Story) -> None:
    assert story.run.status()["child"]["uri"] == OUTPUT
    assert json.loads(story.run.read("summary.json"))["child"]["path"] == OUTPUT


def test_one_pod_wrote_and_nothing_but_the_child(story: Story, material: Path) -> None:
    assert {stage for stage, writable in story.modes.items() if writable} == {"publish"}
    assert {"recall", "mri", "score"} <= story.modes.keys()
    assert {path.name for path in story.volume.iterdir()} == {"father", "children"}
    assert [path.name for path in (story.volume / "children").iterdir()] == ["tiny"]
    for path in (material / "parents" / "tiny-qwen35" / "father").iterdir():
        assert (story.volume / "father" / path.name).read_bytes() == path.read_bytes()


def test_its_server_reads_it_there_and_nowhere_else(story: Story) -> None:
    assert story.run.condition("Served")["reason"] == "Applied"
    deployment, _ = story.run.servers()
    spec = deployment["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][0] == f"/mnt/pvc/{CLAIM}/children/tiny"
    assert not writes(deployment)


def test_a_run_that_begins_anew_finds_it_there_and_leaves_it(story: Story) -> None:
    record = story.volume / "children" / "tiny" / CHILD_RECORD
    written, stored = record.stat().st_mtime_ns, story.run.lasting()
    story.run.delete()
    story.run.apply()
    story.run.wait("Complete")
    assert record.stat().st_mtime_ns == written
    assert story.run.lasting() == stored
