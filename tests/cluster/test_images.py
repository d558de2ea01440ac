"""The images, in Pods as restricted as the real ones: who they are, where they write, what is in them."""

import copy
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.job import job
from darwinmerge_operator.pod import UID
from tests.cluster.conftest import Kubernetes, until
from tests.unit.test_jobs import OWNER, start

pytestmark = pytest.mark.cluster

LOOK_AROUND = """
import importlib.util, json, os, pathlib, pwd, tempfile

def writable(folder):
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True

caches = ["HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
          "NUMBA_CACHE_DIR", "MPLCONFIGDIR"]
print(json.dumps({
    "user": [os.getuid(), pwd.getpwuid(os.getuid()).pw_name, os.environ["USER"]],
    "writable": [folder for folder in ("/", "/tmp", "/opt/darwin", "/scratch", "/dev/shm") if writable(folder)],
    "elsewhere": [name for name in caches if not os.environ.get(name, "").startswith("/scratch")],
    "packages": [name for name in ("torch", "lm_eval", "boto3", "kopf", "kubernetes", "darwinmerge_operator", "pytest")
                 if importlib.util.find_spec(name)],
}))
"""


@pytest.fixture(scope="session")
def say(kubernetes: Kubernetes, namespace: str) -> Callable[..., str]:
    """Runs a command in a Pod as restricted as a worker's; what it prints."""
    modest = Cluster.model_validate({"template": {"resources": {"limits": {"memory": "512Mi"}}}})

    def run(name: str, image: str, **command: list[str]) -> str:
        manifest = copy.deepcopy(job(start(), OWNER, modest, image))
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        spec = manifest["spec"]["template"]["spec"]
        spec["containers"][0].update(command)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        kubernetes.create(pod, namespace)
        ended = until(lambda: phase(name) in ("Succeeded", "Failed") and phase(name))
        said = kubernetes.log(name, namespace)
        assert ended == "Succeeded", said
        kubernetes.of("Pod").delete(name, namespace)
        return said

    def phase(name: str) -> str:
        return str(kubernetes.of("Pod").get(name=name, namespace=namespace).status.phase)

    return run


@pytest.fixture(scope="module")
def worker(say: Callable[..., str], worker_image: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(say("worker", worker_image, command=["python", "-c", LOOK_AROUND]))
    return found


def test_the_worker_is_nobody_and_writes_to_its_scratch_only(worker: dict[str, list[Any]]) -> None:
    assert worker["user"] == [UID, "darwin", "darwin"]
    assert worker["writable"] == ["/scratch", "/dev/shm"]
    assert worker["elsewhere"] == []


def test_the_worker_has_what_stages_need_and_no_tools(worker: dict[str, list[Any]]) -> None:
    assert worker["packages"] == ["torch", "lm_eval", "boto3", "darwinmerge_operator"]


def test_the_operator_has_a_name_and_no_torch(say: Callable[..., str], operator_image: str) -> None:
    found = json.loads(say("operator", operator_image, command=["python", "-c", LOOK_AROUND]))
    assert found["user"] == [UID, "darwin", "darwin"]
    assert found["packages"] == ["kopf", "kubernetes", "darwinmerge_operator"]


@pytest.mark.parametrize(("image", "says"), [("worker_image", "darwin, "), ("operator_image", "darwin-operator, ")])
def test_an_image_is_its_command(
    say: Callable[..., str], image: str, says: str, request: pytest.FixtureRequest
) -> None:
    said = say(image.replace("_", "-"), request.getfixturevalue(image), args=["--version"])
    assert says + "version " + version("darwinmerge") in said
