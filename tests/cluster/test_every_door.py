"""Each part by its own door: models on a hub, an adapter, a base, a method, outputs in S3 and on a hub, another runner.

What the operator leaves is compared with what `darwin run` of the same manifest leaves, byte for byte. Each of the two
has a hub of its own with the same models at the same commits, so that both upload.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.store.layout import CHILD_RUN
from tests.build import normal, tensor
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.operated import RUN_SECONDS, Json, Operator, Run
from tests.cluster.overheard import Overheard, overheard
from tests.clustered import edited
from tests.hub import Hub, hub
from tests.integration.adapted import write_adapter
from tests.integration.conftest import SKILLS, World, command
from tests.integration.test_base import make_base
from tests.leaks import leaks
from tests.s3 import BUCKET, S3

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(4 * RUN_SECONDS)]

REPO = "org/child"
OUTPUT = "models/every-door"
FEW = [{"name": skill, "search": {"rows": 12}, "verdict": {"rows": 20}} for skill in SKILLS]
TOKEN = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
DOORS = {
    "metadata.name": "doors",
    "spec.parents.father.uri": "hf://org/father@main",
    "spec.parents.mother": {"uri": f"s3://{BUCKET}/adapters/mother", "base": "hf://org/father@main"},
    "spec.parents.base": {"uri": "hf://org/base@v1"},
    "spec.merge": {"method": "Ties"},
    "spec.evaluation.tasks": FEW,
    "spec.output": {"uri": f"s3://{BUCKET}/{OUTPUT}", "hub": {"repo": REPO}, "maxShardSize": "300KB"},
}
WITHHELD = {
    "metadata.name": "withheld",
    "spec.parents.father.uri": "hf://org/father",
    "spec.parents.mother.uri": "hf://org/adapter",  # which names what it is on
    "spec.merge": {"method": "Slerp"},
    "spec.evaluation.tasks": FEW,
    "spec.output": {"uri": f"s3://{BUCKET}/models/withheld", "hub": {"repo": "org/withheld"}, "publishIf": "BeatsBoth"},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, material: Path, parents_in_s3: S3) -> Path:
    """Folders of a model, of an adapter on it, which lies in S3 too, and of what it might be a fine-tune of."""
    folder, pair = tmp_path_factory.mktemp("models"), material / "parents/tiny-qwen35"
    (folder / "father").symlink_to(pair / "father")
    father, mother = (ModelFolder(pair / who) for who in ("father", "mother"))
    make_base(folder / "base", father, mother)
    factors = {}
    for n, name in enumerate(name for name in father.tensors if ".mlp." in name):
        out, width = father.info(name).shape
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        factors[f"{stem}.lora_A.weight"] = tensor(normal(2 * n, 4, width), "F32")
        factors[f"{stem}.lora_B.weight"] = tensor(normal(2 * n + 1, out, 4, scale=0.02), "F32")
    for path in write_adapter(folder / "adapter", factors, base_model_name_or_path="org/father").iterdir():
        parents_in_s3.client().upload_file(str(path), BUCKET, f"adapters/mother/{path.name}")
    return folder


@pytest.fixture(scope="module")
def hubs(models: Path) -> Iterator[tuple[Hub, Hub]]:
    """The cluster's and this machine's, with the same models; Father is only for whom has the token."""
    with hub() as there, hub() as here:
        for one in (there, here):
            one.push("org/father", models / "father")
            one.models["org/father"].private = True
            one.push("org/adapter", models / "adapter")
            one.push("org/base", models / "base", branch="v1")
        yield there, here


@pytest.fixture(scope="module")
def make(
    kubernetes: Kubernetes,
    images: tuple[str, str],
    furnished: str,
    small_run: Callable[[str], Run],
    hubs: tuple[Hub, Hub],
) -> Iterator[Callable[[str, Mapping[str, Any]], Run]]:
    """Makes the small experiment with edits and a way to the hub, for an operator that is there; not applied yet."""
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf"}, "stringData": {"token": hubs[0].token}}
    env = [TOKEN, {"name": "HF_ENDPOINT", "value": hubs[0].endpoint}]
    made: list[Run] = []

    def made_of(place: str, edits: Mapping[str, Any]) -> Run:
        plain = small_run(place)
        made.append(replace(plain, document=edited(plain.document, {"spec.cluster.template.env": env, **edits})))
        return made[-1]

    kubernetes.create(token, furnished)
    operator = Operator(kubernetes, furnished)
    operator.install(*images)
    yield made_of
    for run in made:
        if not run.gone():
            run.delete()
    operator.uninstall()


@dataclass(frozen=True)
class Laptop:
    """This machine, with a run's manifest in a folder of its own."""

    world: World
    environment: Mapping[str, str]

    def start(self) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        run = command("run", self.world.manifest, "--json")
        return subprocess.Popen(run, stdout=pipe, stderr=pipe, text=True, env=dict(self.environment))


def summary_of(process: "subprocess.Popen[str]") -> Json:
    """The summary of a `darwin run` that ends well."""
    out, errors = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, errors
    found: Json = json.loads(out)
    return found


def laptop(folder: Path, run: Run, tasks: World, hub: Hub, edits: Mapping[str, Any] | None = None) -> Laptop:
    """A laptop that has the keys of the store and the token of a hub, and the benchmark in a folder."""
    folder.mkdir()
    given = {"spec.evaluation.taskFolder": str(tasks.folder / "tasks"), **(edits or {})}
    world = World(folder)
    world.manifest.write_text(yaml.safe_dump(edited(run.document, given), sort_keys=False))
    caches = {"HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache")}
    return Laptop(world, {**os.environ, **run.server.environment(), **hub.environment(token=True), **caches})


# ---- every door at once


@dataclass(frozen=True)
class Both:
    """A run at its end, in the cluster and on this machine."""

    run: Run
    heard: Overheard
    world: World
    summary: Json  # of this machine's


@pytest.fixture(scope="module")
def both(
    make: Callable[[str, Mapping[str, Any]], Run],
    kubernetes: Kubernetes,
    hubs: tuple[Hub, Hub],
    small_world: World,
    tmp_path_factory: pytest.TempPathFactory,
) -> Both:
    run = make("doors", DOORS)
    with overheard(kubernetes, run.namespace) as heard:
        run.apply()
        run.wait("Complete")
        until(lambda: not run.jobs())  # the report's, which is the last
    places = {"spec.store.uri": "store", "spec.output.uri": "child"}
    here = laptop(tmp_path_factory.mktemp("here") / "world", run, small_world, hubs[1], places)
    return Both(run, heard, here.world, summary_of(here.start()))


def test_parents_on_a_hub_an_adapter_a_base_and_a_method_give_the_bytes_of_one_machine(both: Both) -> None:
    there, here = (computed(objects) for objects in (both.run.lasting(), both.world.objects()))
    assert there.keys() == here.keys()
    assert there == here
    assert both.run.status()["verdict"]["label"] == both.summary["verdict"]["label"]


def test_each_model_is_the_commit_that_its_branch_was(both: Both, hubs: tuple[Hub, Hub]) -> None:
    lasting = both.run.lasting()
    resolved = next(json.loads(lasting[key]) for key in lasting if key.startswith("results/resolve-"))
    father = hubs[0].models["org/father"].branches["main"]
    base = hubs[0].models["org/base"].branches["v1"]
    assert resolved["summary"]["commits"] == {"father": father, "motherBase": father, "base": base}


def test_the_child_is_at_its_output_and_on_the_hub_as_one_machine_publishes_it(
    both: Both, hubs: tuple[Hub, Hub]
) -> None:
    expected = {path.name: path.read_bytes() for path in (both.world.folder / "child").iterdir()}
    del expected[CHILD_RUN]
    assert len([name for name in expected if name.endswith(".safetensors")]) > 1
    assert [published(found) for found in (output(both.run, OUTPUT), *map(uploaded, hubs))] == [expected] * 3
    told = both.run.status()["child"]
    assert told["uri"] == both.run.document["spec"]["output"]["uri"]
    assert told["hub"] == f"hf://{REPO}@{hubs[0].models[REPO].branches['main']}"
    assert hubs[0].models[REPO].private
    assert json.loads(both.run.read("summary.json"))["child"]["hub"] == told["hub"]


def test_the_hubs_token_is_told_nowhere(both: Both, hubs: tuple[Hub, Hub]) -> None:
    both.heard.assert_no_secret(both.run, besides=(hubs[0].token,))
    assert leaks([hubs[0].token], {**output(both.run, OUTPUT), **uploaded(hubs[0])}) == []


# ---- a child that isn't good enough


def test_a_child_that_does_not_beat_both_stays_in_the_store_and_the_status_says_why(
    make: Callable[[str, Mapping[str, Any]], Run], hubs: tuple[Hub, Hub], both: Both
) -> None:
    run = make("withheld", WITHHELD)
    hubs[0].asked.clear()
    run.apply()
    complete = run.wait("Complete")
    assert complete["reason"] != "ChildBeatsBoth"
    assert complete["message"].endswith("; it stays in the store, since spec.output.publishIf is BeatsBoth")
    assert hubs[0].of("^GET "), "its parents are there"
    assert not hubs[0].of("^(POST|PUT) ")
    assert "org/withheld" not in hubs[0].models
    assert output(run, "models/withheld") == {}
    child = run.status()["child"]
    assert child["uri"].startswith(run.document["spec"]["store"]["uri"] + "/children/")
    assert not child.get("hub")


# ---- a laptop beside the cluster


def test_a_laptop_on_the_store_of_a_run_that_goes_on_ends_as_the_cluster_does_and_as_a_lone_one(
    make: Callable[[str, Mapping[str, Any]], Run],
    hubs: tuple[Hub, Hub],
    small_world: World,
    on_one_machine: World,
    tmp_path: Path,
) -> None:
    run = make("shared", {})
    beside = laptop(tmp_path / "laptop", run, small_world, hubs[1])
    run.apply()
    until(lambda: any(key.startswith("results/mri-") for key in run.stored()), RUN_SECONDS)
    process = beside.start()
    assert not run.condition("Complete")
    summary = summary_of(process)
    run.wait("Complete")
    until(lambda: not run.jobs())
    assert run.lasting() == on_one_machine.objects()
    assert summary["child"]["recipe"] == run.status()["child"]["recipe"]
    assert {run.status()["verdict"]["label"], run.condition("Complete")["reason"]} == {summary["verdict"]["label"]}


def computed(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """All but what the publication came to: it tells the commit, which is of the time and the place too."""
    return {key: data for key, data in objects.items() if not key.startswith("results/publish-")}


def output(run: Run, prefix: str) -> dict[str, bytes]:
    """What lies at a prefix of the bucket, by name."""
    found = run.bucket.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
    keys = [one["Key"] for one in found]
    return {key[len(prefix) + 1 :]: run.bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def uploaded(hub: Hub) -> dict[str, bytes]:
    """The child's repository."""
    model = hub.models[REPO]
    return model.commits[model.branches["main"]]


def published(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Without what tells of times and places, and what a hub puts there."""
    return {name: data for name, data in files.items() if name not in (CHILD_RUN, ".gitattributes")}
