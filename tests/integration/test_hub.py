"""Parents on a hub give what the same folders on a disk give, byte for byte, whatever the hub does meanwhile.

The hub is a double (`tests/hub.py`); the first tests let huggingface_hub itself download from it, so that it is known
to speak what the real one speaks.
"""

import hashlib
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from darwinmerge import hub as engine
from darwinmerge.checkpoint.folder import SINGLE
from darwinmerge.checkpoint.hub import BLOCK
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadConfiguration, BadInput, StoreUnreachable
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.manifest import Mri
from darwinmerge.mri.table import diagnose
from darwinmerge.mri.task import resolve
from darwinmerge.pipeline.place import Place
from darwinmerge.publish.lineage import ancestor
from darwinmerge.store import Store, open_store
from tests.build import normal, tensor, times_read, write_model
from tests.hub import Cut, Hub, Lie, Say, Whole
from tests.integration.conftest import World, darwin
from tests.qwen35 import SHARDS, Pair, make_pair

GENOME = "ratio=0.5,attn=0.4,ffn=0.6,density_b=0.8"
UP = "model.layers.0.mlp.up_proj.weight"
FATHER, MOTHER = "org/father", "org/mother"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(there: Hub, local: Pair) -> tuple[str, str]:
    """Where both parents are on the hub."""
    there.push(FATHER, local.father.path)
    there.push(MOTHER, local.mother.path)
    return f"hf://{FATHER}", f"hf://{MOTHER}@main"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the engine waits; it doesn't really."""
    found: list[float] = []
    monkeypatch.setattr("darwinmerge.hub.time.sleep", found.append)
    return found


@pytest.fixture
def one(there: Hub, tmp_path: Path) -> str:
    """A model with one tensor of two blocks and a bit, `org/one`."""
    write_model(tmp_path / "one", {UP: tensor(normal(1, BLOCK + 3))})
    there.push("org/one", tmp_path / "one")
    return "hf://org/one"


def at(uris: tuple[str, str], store: Store) -> Place:
    where = Bindings(father=uris[0], mother=uris[1], store=store.uri)
    return Place(where, store, threading.Event(), lambda done, of: None)


# ---- the double


def test_hugging_faces_own_client_downloads_a_model_from_the_double(there: Hub, local: Pair, tmp_path: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download

    commit = there.push(FATHER, local.father.path)
    folder = Path(snapshot_download(FATHER, cache_dir=tmp_path / "cache", endpoint=there.endpoint, token=there.token))
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert folder.name == commit
    assert found == {path.name: path.read_bytes() for path in local.father.path.iterdir()}
    shard = next(name for name in found if name.endswith(".safetensors"))
    about = get_hf_file_metadata(hf_hub_url(FATHER, shard))
    expected = (commit, hashlib.sha256(found[shard]).hexdigest(), len(found[shard]))
    assert (about.commit_hash, about.etag, about.size) == expected
    assert {request.token for request in there.of("/storage/")} == {""}


def test_it_sees_the_doubles_refusals_as_those_of_the_hub(there: Hub, local: Pair) -> None:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    there.push(FATHER, local.father.path)
    there.models[FATHER].gated = True
    api = HfApi(endpoint=there.endpoint)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(FATHER, revision="nothing")
    with pytest.raises(GatedRepoError):
        hf_hub_download(FATHER, "config.json", endpoint=there.endpoint)


# ---- the same as on a disk


def test_headers_pins_and_the_whole_mri_table_are_those_of_the_folders(local: Pair, pair: tuple[str, str]) -> None:
    folders = [open_model(uri) for uri in pair]
    for folder, same in zip(folders, (local.father, local.mother), strict=True):
        assert folder.tensors == same.tensors
        assert folder.file_digests == same.file_digests
        assert folder.side_files() == same.side_files()
    assert list(diagnose(folders[0], folders[1], Mri())) == list(diagnose(local.father, local.mother, Mri()))


def test_a_child_of_parents_on_a_hub_is_that_of_the_folders_file_by_file(
    local: Pair, pair: tuple[str, str], tmp_path: Path
) -> None:
    places = {"disk": (str(local.father.path), str(local.mother.path)), "hub": pair}
    for name, (father, mother) in places.items():
        call = ("--father", father, "--mother", mother, "--genome", GENOME, "--seed", "3", "-o", tmp_path / name)
        run = darwin("merge", *call, "--set", "merge.oneSided=Keep", "--set", "output.maxShardSize=100KB")
        assert run.returncode == 0, run.stderr
    children = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("disk", "hub")]
    assert children[0] == children[1]
    assert len(children[0]) > SHARDS
    verified = darwin("verify", tmp_path / "hub", "--father", pair[0], "--mother", pair[1])
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_run_whose_parents_are_on_a_hub_leaves_the_same_objects_and_no_token(
    there: Hub, world: World, undisturbed: World, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", there.token)
    for who in ("father", "mother"):
        commit = there.push(f"org/{who}", material / "parents/tiny-qwen35" / who)
        there.models[f"org/{who}"].gated = True
        world.edit("parents", who, "uri", value=f"hf://org/{who}")
    world.edit("output", value={"uri": str(world.folder / "child")})
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    mine, theirs = world.objects(), undisturbed.objects()
    resolved = next(key for key in mine if key.startswith("results/resolve-"))
    assert json.loads(mine[resolved])["summary"].pop("commits")["mother"] == commit
    apart = ("commits/", "results/resolve-", "results/publish-")
    weights = {key for key in theirs if key.endswith(".safetensors")}
    assert weights
    for key, data in theirs.items():
        if not key.startswith(apart) and not key.endswith("README.md"):
            assert mine[key] == data, key
    noted = json.loads((world.folder / "child" / "darwin-run.json").read_text())
    assert noted["mother"] == f"hf://org/mother@{commit}"
    assert f"uri: hf://org/mother@{commit}" in (world.store / "report.html").read_text(), "it can be made again"
    everything = b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    assert there.token not in run.stdout + run.stderr
    assert there.token.encode() not in everything
    assert {request.token for request in there.of("/resolve/")} == {there.token}
    assert {request.token for request in there.of("/storage/")} == {""}


def test_the_card_knows_a_parents_name_and_licence_from_the_hub(there: Hub, tmp_path: Path) -> None:
    write_model(tmp_path / "m", {UP: tensor(normal(1, 8))})
    (tmp_path / "m/README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\nbase_model: org/base\n---\n# M\n")
    there.push("org/m", tmp_path / "m")
    found = ancestor("hf://org/m@main", open_model("hf://org/m@main"))
    assert (found.hub, found.licence.id, found.base, found.languages) == ("org/m", "apache-2.0", "org/base", ("en",))


# ---- what is read


def test_a_diagnosis_reads_parts_of_weight_files_and_never_a_whole_one(there: Hub, pair: tuple[str, str]) -> None:
    folders = [open_model(uri) for uri in pair]
    plan = [
        (located.info.nbytes, times_read(folder, name))
        for folder in folders
        for name, located in folder.tensors.items()
    ]
    wanted = sum(size * times for size, times in plan)
    there.asked.clear()
    list(diagnose(folders[0], folders[1], Mri()))
    stored = there.of("/storage/")
    assert sum(request.sent for request in stored) == wanted
    assert all(request.stop is not None for request in stored)
    assert len(there.of("/resolve/")) <= 16 * len({located.file for f in folders for located in f.tensors.values()})


def test_a_large_tensor_is_read_in_blocks_and_the_hub_asked_once_for_the_file(there: Hub, one: str) -> None:
    folder = open_model(one)
    there.asked.clear()
    assert folder.bits(UP).tobytes() == next(open_model(one).whole([UP])).tobytes()
    assert not there.of("/resolve/.*/model.safetensors")[2:], "headers told where it is stored"
    assert max((request.stop or 0) - request.start for request in there.of("/storage/")) <= BLOCK


def test_pins_cost_no_reading_and_small_files_come_once(there: Hub, one: str, tmp_path: Path) -> None:
    place = at((one, one), open_store(str(tmp_path / "store")))
    there.asked.clear()
    folder = place.parents()[0]
    assert folder.pin == place.parents()[0].pin
    assert (folder.config, folder.config) == (folder.config, json.loads(folder.read("config.json")))
    assert folder.path.joinpath("config.json").read_bytes() == folder.read("config.json")
    assert len(there.of("config.json")) == 2, "once a parent"
    assert sum(request.sent for request in there.of("/storage/")) < 1000, "headers, and no more"


# ---- the commit


def test_a_branch_that_moves_during_a_run_is_still_the_commit_that_it_was(
    there: Hub, local: Pair, pair: tuple[str, str], tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    was = there.models[MOTHER].branches["main"]
    summary, _ = resolve(at(pair, store))
    write_model(tmp_path / "other", {UP: tensor(normal(5, 8))})
    now = there.push(MOTHER, tmp_path / "other")
    later = at(pair, store)  # another stage, in another pod, days later
    assert [folder.pin for folder in later.pinned(summary.pins)] == [local.father.pin, local.mother.pin]
    assert summary.commits["mother"] == was == later.commits()["mother"] != now
    assert str(open_model(pair[1])) == f"hf://{MOTHER}@{now}", "by hand, a branch is what it is now"


def test_of_two_that_look_at_once_the_first_is_right(there: Hub, pair: tuple[str, str], tmp_path: Path) -> None:
    from darwinmerge.checkpoint.commits import settled

    store = open_store(str(tmp_path / "store"))
    first = there.models[MOTHER].branches["main"]

    class Late:
        """A store on which another writer was faster."""

        def head(self, key: str) -> None:
            return None

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

    assert settled(pair[1], store) == f"hf://{MOTHER}@{first}"
    there.push(MOTHER, {"config.json": b"{}"})
    assert settled(pair[1], Late()) == f"hf://{MOTHER}@{first}"  # type: ignore[arg-type]


@pytest.mark.usefixtures("one")
def test_tags_with_slashes_and_commits_are_revisions(there: Hub) -> None:
    commit = there.models["org/one"].branches["main"]
    there.models["org/one"].branches["refs/pr/1"] = commit
    for revision in ("refs/pr/1", commit):
        assert str(open_model(f"hf://org/one@{revision}")) == f"hf://org/one@{commit}"


# ---- what goes wrong, and passes


def test_a_cut_connection_is_taken_up_at_the_byte_where_it_broke(there: Hub, one: str, naps: list[float]) -> None:
    folder = open_model(one)
    expected = there.models["org/one"].commits[str(folder).partition("@")[2]][SINGLE]
    there.asked.clear()
    there.on("/storage/", Cut(1 << 20), times=3)
    assert folder.files.stretch(SINGLE, 0, 6 << 20)[:].tobytes() == expected[: 6 << 20]
    reads = there.of("/storage/")
    assert [(request.start >> 20, request.sent >> 20) for request in reads] == [(0, 1), (1, 1), (2, 1), (3, 3)]
    assert len(naps) == 3
    assert max(naps) < 2, "who gets on is not punished"


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=7'}])
def test_a_hub_that_has_enough_is_asked_again_when_it_says(
    there: Hub, one: str, naps: list[float], headers: dict[str, str]
) -> None:
    folder = open_model(one)
    there.on("/storage/", Say(429, headers), times=2)
    assert len(folder.bits(UP)) == BLOCK + 3
    assert naps == [7, 7]


def test_a_server_in_trouble_is_asked_again_later_each_time_and_not_for_ever(
    there: Hub, one: str, naps: list[float]
) -> None:
    folder = open_model(one)
    there.on("/storage/", Say(503), times=3)
    assert len(folder.bits(UP)) == BLOCK + 3
    there.on("/storage/", Say(500))
    naps.clear()
    with pytest.raises(StoreUnreachable, match=rf"^{folder}/{SINGLE}: the hub answers 500"):
        folder.files.stretch(SINGLE, 0, 8)[:]
    assert len(naps) == engine.ATTEMPTS - 1
    assert naps[-1] > naps[0]


def test_a_wait_that_is_too_long_is_left_to_the_next_attempt(there: Hub, one: str, naps: list[float]) -> None:
    there.on("GET /api", Say(429, {"Retry-After": "3600"}))
    with pytest.raises(StoreUnreachable, match="asks to wait 3600 s: run again then"):
        open_model(one)
    assert not naps


def test_a_signature_that_expires_is_renewed(there: Hub, one: str, naps: list[float]) -> None:
    folder = open_model(one)
    there.signatures.clear()
    assert len(folder.bits(UP)) == BLOCK + 3
    assert not naps


def test_a_hub_that_is_not_there_is_unreachable(there: Hub, one: str, naps: list[float]) -> None:
    from huggingface_hub import constants

    pytest.MonkeyPatch().setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    try:
        with pytest.raises(StoreUnreachable, match=r"^hf://org/one@main: ConnectError: .*127.0.0.1:9"):
            open_model(one)
    finally:
        constants.ENDPOINT = there.endpoint
    assert len(naps) == engine.ATTEMPTS - 1


# ---- what only a person can mend


def test_a_gated_model_is_refused_with_the_remedy_and_its_exit_code(
    there: Hub, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there.models[FATHER].gated = True
    run = darwin("mri", *pair)
    assert run.returncode == 78
    said = " ".join(run.stderr.split())
    assert f"{FATHER} is gated, and you may not read it (401); accept its terms at {there.endpoint}/{FATHER}" in said
    assert "set HF_TOKEN" in said
    assert "spec.cluster.store.credentialsSecret" in said
    other = "hf_" + "x" * 34
    monkeypatch.setenv("HF_TOKEN", other)
    run = darwin("mri", *pair, "--debug")
    assert run.returncode == 78
    assert "(403)" in run.stderr
    assert other not in run.stdout + run.stderr
    monkeypatch.setenv("HF_TOKEN", there.token)
    assert darwin("mri", *pair, "--set", "merge.oneSided=Keep").returncode == 0


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("hf://org/nothing", BadConfiguration, r"no such model to those without a token \(401\); .*HF_TOKEN"),
        ("hf://org/one@nothing", BadInput, "org/one has no such revision"),
        (f"hf://org/one@{'0' * 40}", BadInput, "org/one has no such revision"),
        ("hf://one", BadConfiguration, "not a model on the hub; write hf://org/name"),
        ("hf://org/na--me", BadConfiguration, "not a model on the hub"),
        ("hf://org/one@", BadConfiguration, "not a model on the hub"),
    ],
)
@pytest.mark.usefixtures("one")
def test_what_is_not_there_is_refused_by_name(uri: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f"^{uri}(@main)?: .*{says}"):
        open_model(uri)


def test_an_environment_that_switches_the_hub_off_is_respected(one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = darwin("mri", one)
    assert run.returncode == 78, run.stderr
    assert "switched off by the environment; unset HF_HUB_OFFLINE" in " ".join(run.stderr.split())


@pytest.mark.parametrize("token", ["hf_sec ret", "hf_sécret", "hf_\x01secret"])
def test_a_token_that_can_be_none_is_refused_and_not_shown(
    one: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BadConfiguration, match=r"^HF_TOKEN: it holds what no token has") as found:
        open_model(one)
    assert "ret" not in str(found.value).replace("letters", "")


def test_a_hub_that_gives_another_file_than_the_commit_has_is_found_out(there: Hub, one: str) -> None:
    there.on("config.json", Lie())
    with pytest.raises(BadInput, match=r"config\.json: the hub gives another file than the commit has"):
        _ = open_model(one).config


def test_a_hub_that_gives_whole_files_only_is_refused(there: Hub, one: str) -> None:
    folder = open_model(one)
    there.on("/storage/", Whole())
    with pytest.raises(BadConfiguration, match="gives whole files only; set HF_ENDPOINT"):
        folder.files.stretch(SINGLE, 8, 16)[:]
    assert np.array_equal(folder.files.stretch(SINGLE, 0, 8)[:], folder.files.stretch(SINGLE, 0, 8)[:])


def test_nothing_but_a_hub_is_asked_for_anything_by_a_library(there: Hub, one: str) -> None:
    """A parent on the hub is opened without torch or transformers, and signed URLs are in no log."""
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from darwinmerge.checkpoint.opening import open_model\n"
        f"len(open_model({one!r}).bits({UP!r}))\n"
        "print('HEAVY', [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in run.stdout
    assert not re.search("Signature=", run.stderr), run.stderr
