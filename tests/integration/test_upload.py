"""A child that is uploaded to a hub: one commit, whole or not at all, once, and never over anything else.

The hub is a double (`tests/hub.py`, `tests/hub_uploads.py`); the first tests let huggingface_hub itself upload to it
what it downloads again, so that the double is known to speak what the real one speaks.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.folder import SINGLE
from darwinmerge.errors import BadConfiguration, BadInput, Interrupted, StoreUnreachable
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.experiment.places import require_places
from darwinmerge.mri.task import resolve
from darwinmerge.pipeline.claim import held
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import PublishInputs
from darwinmerge.publish.task import publish
from darwinmerge.report.table import keep
from darwinmerge.store import layout, open_store
from tests.hub import Cut, Drop, Hub, Say
from tests.integration.conftest import World, darwin
from tests.integration.test_base import run_here, small
from tests.integration.test_refusals import copied
from tests.integration.test_s3_publish import KILLED, WEIGHTS, children_of

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),  # so huggingface_hub sends files
]

REPO = "org/child"
SENT = r"^(POST|PUT) /(?!api/models/org/child/(preupload|commits)|api/validate-yaml)"  # requests that bring something
PUT = "^PUT /storage/"
COMMIT = f"^POST /api/models/{REPO}/commit/"


@dataclass
class Uploader:
    """A finished experiment with a place on a hub for its child, and another child of it that is not the winner."""

    hub: Hub
    x: Experiment
    winner: PublishInputs
    other: PublishInputs

    def publish(self, child: PublishInputs, tell: Callable[[int, int], None] = lambda *_: None) -> str:
        place = Place(self.x.where, open_store(self.x.where.store), threading.Event(), tell)
        return publish(child, place)[0].hub

    def exported(self, child: PublishInputs) -> dict[str, bytes]:
        """The child in the store, without what tells of times and places."""
        folder = Path(self.x.where.store) / layout.child(child.recipe)
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != layout.CHILD_RUN}

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """What stands on a branch, but for what the hub put there."""
        model = self.hub.models[REPO]
        return {name: data for name, data in model.commits[model.branches[branch]].items() if name != ".gitattributes"}

    def holds(self, child: PublishInputs, branch: str = "main") -> bool:
        there = self.files(branch)
        return there.pop(layout.CHILD_RUN, None) is not None and there == self.exported(child)


@pytest.fixture
def up(there: Hub, world: World, undisturbed: World, monkeypatch: pytest.MonkeyPatch) -> Uploader:
    """The undisturbed run, its output on a hub that takes this process's token."""
    monkeypatch.setenv("HF_TOKEN", there.token)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr("darwinmerge.hub.time.sleep", lambda _: None)
    copied(undisturbed, world).edit("output", value={"hub": {"repo": REPO}, "publishIf": "Always"})
    x = experiment_of(load(world.manifest), world.folder)
    return Uploader(there, x, *children_of(x))


# ---- the double


@pytest.mark.parametrize("part", [0, 1000])
def test_hugging_faces_own_client_uploads_to_the_double_what_it_downloads_again(
    up: Uploader, part: int, tmp_path: Path
) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download

    up.hub.part = part
    api = HfApi(endpoint=up.hub.endpoint)
    files = {"config.json": b"{}", "model.safetensors": os.urandom(4321)}
    api.create_repo("org/other", private=True)
    added = [CommitOperationAdd(name, io.BytesIO(data)) for name, data in files.items()]
    commit = api.create_commit("org/other", added, commit_message="a model")
    folder = Path(snapshot_download("org/other", cache_dir=tmp_path / "cache", endpoint=up.hub.endpoint))
    assert folder.name == commit.oid
    assert {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")} == files
    assert len(up.hub.of(PUT)) == (5 if part else 1)
    assert {request.token for request in up.hub.of("/storage/")} == {""}


# ---- a run


def test_a_run_uploads_its_child_and_says_so_once(up: Uploader, world: World) -> None:
    there = up.hub
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    model = there.models[REPO]
    commit = f"hf://{REPO}@{model.branches['main']}"
    assert up.holds(up.winner)
    assert model.private
    assert f"Hub:        {commit}" in run.stdout
    assert json.loads((world.store / "summary.json").read_text())["child"]["hub"] == commit
    report = (world.store / "report.html").read_text()
    assert commit in report
    assert f"vllm serve {REPO} --revision {model.branches['main']}" in report
    assert f'from_pretrained("{REPO}"' in up.files()["README.md"].decode()
    there.asked.clear()
    again = darwin("run", world.manifest)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not there.of(SENT)
    kept = b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    assert there.token.encode() not in kept + b"".join(up.files().values())
    assert there.token not in run.stdout + run.stderr
    spec = up.x.where
    proof = darwin("verify", commit, "--father", spec.father, "--mother", spec.mother)
    assert proof.returncode == 0, proof.stdout + proof.stderr


def test_the_hub_is_not_told_where_things_lie(up: Uploader, world: World) -> None:
    up.publish(up.winner)
    told = json.loads(up.files()[layout.CHILD_RUN])
    assert told["store"] == digest(up.x.where.store)
    assert not {"father", "mother", "output"} & told.keys()
    everything = b"".join(up.files().values()).decode(errors="replace")
    assert str(world.folder) not in everything
    assert up.x.where.father not in everything


def test_a_dry_run_says_where_the_child_will_go(up: Uploader, world: World) -> None:
    up.hub.asked.clear()
    run = darwin("run", world.manifest, "--dry-run")
    assert run.returncode == 0, run.stderr
    assert f"published   hf://{REPO}@main (private where it is created)" in run.stdout
    assert "father tells no licence: whether its child may be uploaded is for you to find out" in run.stdout
    assert not up.hub.of("^(POST|PUT)")


# ---- which child leaves the store


def test_a_child_whose_verdict_is_not_asked_for_stays_until_the_manifest_asks_for_less(
    up: Uploader, world: World
) -> None:
    label = up.winner.verdict.label
    assert label != "ChildBeatsBoth", "else this pair shows nothing"
    child = Path(up.x.where.store) / layout.child(up.winner.recipe)
    world.edit("output", "publishIf", value="BeatsBoth")
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not up.hub.of("^(POST|PUT)")
    assert REPO not in up.hub.models
    assert "the child stays in the store, since spec.output.publishIf is BeatsBoth" in run.stdout + run.stderr
    assert f"Child:      {child}\n" in run.stdout
    assert "it stays in the store: see spec.output.publishIf" in run.stdout
    assert "Hub:" not in run.stdout
    summary = json.loads((world.store / "summary.json").read_text())
    assert summary["verdict"]["label"] == label
    told = summary["child"]
    assert (told["withheld"], told["hub"], told["path"]) == (True, "", str(child))
    assert (
        "it stays in the store, since spec.output.publishIf is BeatsBoth" in (world.store / "report.html").read_text()
    )

    world.edit("output", "publishIf", value="Always")
    run_here(world)
    assert up.holds(up.winner)


def test_a_child_whose_health_fails_is_not_uploaded_whatever_its_verdict(
    there: Hub, world: World, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", there.token)
    for who, sign in (("father", -1), ("mother", 1)):
        parent = world.folder / who
        shutil.copytree(material / "parents/tiny-qwen35" / who, parent, copy_function=shutil.copyfile)
        far = {"mtp.fc.weight": sign * torch.linspace(2e38, 3e38, 64).bfloat16()}  # their difference overflows
        save_file(load_file(parent / SINGLE) | far, parent / SINGLE, metadata={"format": "pt"})
        world.edit("parents", who, "uri", value=str(parent))
    small(world).edit("output", value={"hub": {"repo": REPO}, "publishIf": "Always"})
    run_here(world)
    x = experiment_of(load(world.manifest), world.folder)
    store = open_store(x.where.store)
    summary = keep(x, held(x, store), store)
    assert summary.outcome.kind == "Complete"
    assert summary.health and summary.child
    assert (summary.health.status, summary.health.flagged) == ("Fail", ("mtp.-: Fail",))
    assert not summary.child.hub
    assert not there.of("^(POST|PUT)")
    assert REPO not in there.models
    assert "the child was not published, and should not be used" in (world.store / "report.html").read_text()


# ---- once, whatever happens


def test_the_same_child_is_not_uploaded_again_and_another_takes_its_place(up: Uploader) -> None:
    first = up.publish(up.other)
    only = up.files().keys() - up.exported(up.winner).keys() - {layout.CHILD_RUN}
    assert only, "the other child has files of its own"
    up.hub.asked.clear()
    assert up.publish(up.other) == first
    assert not up.hub.of(SENT)
    second = up.publish(up.winner)
    assert second != first
    assert up.holds(up.winner)
    head, *before = reversed(up.hub.models[REPO].commits.values())
    assert only <= before[0].keys(), "what stood there is history"
    assert not only & head.keys()


@pytest.mark.parametrize("part", [0, 100_000])
def test_killed_between_upload_and_commit_it_only_commits(up: Uploader, part: int) -> None:
    up.hub.part = part
    given = [part.model_dump_json(by_alias=True) for part in (up.x.where, up.winner)]
    run = subprocess.run([sys.executable, "-c", KILLED, *given, "1"], check=False, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert up.files() == {}
    assert up.hub.of(PUT)
    up.hub.asked.clear()
    up.publish(up.winner)
    assert not up.hub.of(PUT)
    assert len(up.hub.of(COMMIT)) == 1
    assert up.holds(up.winner)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(up: Uploader) -> None:
    up.hub.on(COMMIT, Cut(0), times=1)
    with pytest.raises(StoreUnreachable, match="somebody else committed at the same time; run again"):
        up.publish(up.winner)
    commits = len(up.hub.models[REPO].commits)
    assert up.publish(up.winner) == f"hf://{REPO}@{up.hub.models[REPO].branches['main']}"
    assert len(up.hub.models[REPO].commits) == commits
    assert up.holds(up.winner)


@pytest.mark.parametrize("part", [0, 100_000])
@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (PUT, Drop(5000)),
        (PUT, Say(503)),
        (PUT, Say(403)),  # its signature has expired
        ("objects/batch", Say(500)),
        ("/preupload/", Drop(0)),
        ("/repos/create", Say(502)),
        (COMMIT, Say(429, {"Retry-After": "1"})),
        (COMMIT, Drop(10)),
        ("^GET /api/models/", Say(504)),
    ],
)
def test_trouble_that_passes_is_outlived(up: Uploader, where: str, fault: Drop | Say, part: int) -> None:
    up.hub.part = part
    up.hub.on(where, fault, times=1)
    up.publish(up.winner)
    assert up.holds(up.winner)


def test_asked_to_stop_it_stops_within_a_file(up: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darwinmerge.publish.upload.BLOCK", 100_000)
    stop, store = threading.Event(), open_store(up.x.where.store)
    read = store.read
    reads: list[str] = []

    def reading(key: str, start: int = 0, to: int | None = None) -> bytes:
        reads.append(key)
        if key.endswith(WEIGHTS) and reads.count(key) == 2:
            stop.set()
        return read(key, start, to)

    monkeypatch.setattr(store, "read", reading)
    with pytest.raises(Interrupted):
        publish(up.winner, Place(up.x.where, store, stop, lambda *_: None))
    assert not up.hub.of(COMMIT)


# ---- what only a person can mend


def test_without_a_token_nothing_begins(up: Uploader, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert f"hf://{REPO}@main: nobody uploads without a token; set HF_TOKEN to a token that may write it" in run.stderr
    with pytest.raises(BadConfiguration, match=r"secretKeyRef in spec\.cluster\.template\.env"):
        up.publish(up.winner)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["/repos/create", "objects/batch", COMMIT])
def test_a_token_that_may_not_write_is_refused_with_the_hubs_reason(up: Uploader, where: str, status: int) -> None:
    up.hub.on(where, Say(status, {"X-Error-Message": "You don't have the rights to do that"}))
    with pytest.raises(
        BadConfiguration, match=rf"takes no upload with this token \({status}: You don't.*HF_TOKEN.*may write"
    ):
        up.publish(up.winner)
    assert REPO not in up.hub.models or up.files() == {}


def test_a_hub_that_stays_in_trouble_is_unreachable(up: Uploader) -> None:
    up.hub.on(COMMIT, Say(503))
    with pytest.raises(StoreUnreachable, match=f"^hf://{REPO}@main: the hub, or its storage, answers 503"):
        up.publish(up.winner)


def test_what_is_no_child_of_this_experiment_is_never_replaced(up: Uploader, world: World) -> None:
    foreign = {"model.safetensors": b"of somebody"}
    up.hub.push(REPO, foreign)
    for act in (lambda: up.publish(up.winner), lambda: require_places(up.x)):
        with pytest.raises(BadConfiguration, match=r"^spec.output.hub: hf://org/child@main holds what is not a child"):
            act()
    assert up.files() == foreign


def test_somebody_who_commits_meanwhile_is_not_overwritten(up: Uploader) -> None:
    foreign = {"model.safetensors": b"of somebody"}

    def meanwhile(done: int, of: int) -> None:
        if done == 1:
            up.hub.push(REPO, foreign)

    with pytest.raises(StoreUnreachable, match="somebody else committed"):
        up.publish(up.winner, meanwhile)
    assert up.files() == foreign


def test_a_branch_that_is_not_there_begins_empty_whatever_is_on_main(
    up: Uploader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    up.publish(up.other)
    world.edit("output", "hub", "revision", value="second")
    x = experiment_of(load(world.manifest), world.folder)
    second = Uploader(up.hub, x, *children_of(x))
    assert second.publish(second.winner) == f"hf://{REPO}@{up.hub.models[REPO].branches['second']}"
    assert second.holds(second.winner, "second")
    assert up.holds(up.other, "main")


def test_a_child_that_is_damaged_in_the_store_is_not_uploaded(up: Uploader) -> None:
    weights = Path(up.x.where.store) / layout.child(up.winner.recipe) / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadInput, match=f"{WEIGHTS} was changed after it was exported"):
        up.publish(up.winner)
    assert hashlib.sha256(data).hexdigest() not in up.hub.objects
    assert up.files() == {}


def mother_with_card(material: Path, world: World, head: str) -> Path:
    """A copy of Mother whose model card begins so."""
    mother = world.folder / "mother"
    mother.mkdir()
    for path in (material / "parents/tiny-qwen35/mother").iterdir():
        (mother / path.name).write_bytes(path.read_bytes())
    (mother / "README.md").write_text(f"---\n{head}\n---\n# Mother\n")
    return mother


def test_a_licence_that_forbids_it_is_respected_before_and_after_unless_told(
    up: Uploader, world: World, material: Path
) -> None:
    mother = mother_with_card(material, world, "license: cc-by-nc-nd-4.0")
    world.edit("parents", "mother", "uri", value=str(mother))
    x = experiment_of(load(world.manifest), world.folder)
    says = "spec.output.hub: mother mother is under cc-by-nc-nd-4.0, which forbids sharing.*ignoreLicence: true"
    place = Place(x.where, open_store(x.where.store), threading.Event(), lambda *_: None)
    with pytest.raises(BadConfiguration, match=says):
        resolve(place)
    with pytest.raises(BadConfiguration, match=says):
        publish(up.winner, place)
    assert REPO not in up.hub.models
    run = darwin("run", world.manifest, "--dry-run")
    assert "mother's licence, cc-by-nc-nd-4.0, forbids sharing what is made from it" in run.stdout
    world.edit("output", "hub", "ignoreLicence", value=True)
    x = experiment_of(load(world.manifest), world.folder)
    place = Place(x.where, open_store(x.where.store), threading.Event(), lambda *_: None)
    publish(up.winner, place)
    assert up.holds(up.winner)
