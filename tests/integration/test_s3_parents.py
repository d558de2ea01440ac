"""Parents in S3 give what the same folders on a disk give, byte for byte, and are read by what is needed of them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.folder import INDEX, SINGLE
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.s3 import BLOCK
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.manifest import Mri
from darwinmerge.mri.table import diagnose
from darwinmerge.pipeline.place import Place
from darwinmerge.s3 import client
from darwinmerge.store import open_store
from tests.build import normal, tensor, times_read, write_model
from tests.integration.conftest import World, darwin
from tests.qwen35 import SHARDS, Pair, make_pair
from tests.s3 import BUCKET, S3

GENOME = "ratio=0.5,attn=0.4,ffn=0.6,density_b=0.8"
UP = "model.layers.0.mlp.up_proj.weight"
SHARD = f"model-00001-of-{SHARDS:05d}.safetensors"


def upload(s3: S3, folder: Path, prefix: str) -> str:
    for path in folder.iterdir():
        s3.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{path.name}", Body=path.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both parents on a disk; with them goes all that a checkpoint of the Qwen3.5 family can have."""
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def stored(s3_server: S3, local: Pair) -> tuple[str, str]:
    """Where both parents are in S3."""
    return upload(s3_server, local.father.path, "pair/father"), upload(s3_server, local.mother.path, "pair/mother")


@pytest.fixture
def father(s3: S3, local: Pair, tmp_path: Path) -> str:
    """Father in S3 once more, for a test to change."""
    return upload(s3, local.father.path, f"changed/{tmp_path.name}")


class Requests(list[tuple[str, int, int]]):
    """GETs of objects as they are asked for: key, first byte, end; without a range the end is that of all objects."""

    def __call__(self, params: dict[str, Any], **_: Any) -> None:
        first, last = params.get("Range", f"bytes=0-{1 << 50}").removeprefix("bytes=").split("-")
        self.append((params["Key"], int(first), int(last) + 1))

    def of(self, key: str) -> list[tuple[int, int]]:
        return sorted((start, stop) for name, start, stop in self if name == key)


@pytest.fixture
def requests(s3: S3) -> Iterator[Requests]:
    """What this process asks S3 for."""
    found = Requests()
    client().meta.events.register("provide-client-params.s3.GetObject", found)
    yield found
    client().meta.events.unregister("provide-client-params.s3.GetObject", found)


# ---- the same as on a disk


@pytest.mark.usefixtures("s3")
def test_headers_pins_and_the_whole_mri_table_are_those_of_the_folders(local: Pair, stored: tuple[str, str]) -> None:
    folders = [open_model(uri) for uri in stored]
    for folder, same in zip(folders, (local.father, local.mother), strict=True):
        assert folder.tensors == same.tensors
        assert folder.file_digests == same.file_digests
        assert folder.side_files() == same.side_files()
    assert list(diagnose(folders[0], folders[1], Mri())) == list(diagnose(local.father, local.mother, Mri()))


@pytest.mark.usefixtures("s3")
def test_a_child_of_parents_in_s3_is_that_of_the_folders_file_by_file(
    local: Pair, stored: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = {"disk": (str(local.father.path), str(local.mother.path)), "s3": stored}
    for name, (father, mother) in places.items():
        call = ("--father", father, "--mother", mother, "--genome", GENOME, "--seed", "3", "-o", tmp_path / name)
        run = darwin("merge", *call, "--set", "merge.oneSided=Keep", "--set", "output.maxShardSize=100KB")
        assert run.returncode == 0, run.stderr
    children = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in places]
    assert children[0] == children[1]
    assert len(children[0]) > SHARDS
    health = darwin("health", tmp_path / "s3", *stored, "--json")
    assert health.stdout == darwin("health", tmp_path / "disk", *places["disk"], "--json").stdout
    assert json.loads(health.stdout)["layers"]


@pytest.mark.usefixtures("s3")
def test_a_model_that_is_scored_has_the_weights_that_transformers_reads_from_the_folder(
    local: Pair, stored: tuple[str, str]
) -> None:
    from transformers import AutoModelForCausalLM

    from darwinmerge.evaluation.resident import load

    folder = open_model(stored[0])
    model, expected = load(folder, "auto"), AutoModelForCausalLM.from_pretrained(local.father.path, dtype="auto")
    assert type(model) is type(expected)
    assert {**model.config.to_dict(), "_name_or_path": ""} == {**expected.config.to_dict(), "_name_or_path": ""}
    weights, buffers = expected.state_dict(), dict(expected.named_buffers())
    assert weights
    assert all(found.equal(weights.pop(name)) for name, found in model.state_dict().items())
    assert all(found.equal(buffers.pop(name)) for name, found in model.named_buffers())
    assert not weights
    assert not buffers
    assert sorted(path.name for path in folder.path.iterdir()) == folder.side_files(), "no weights lie on the disk"


@pytest.mark.slow
def test_a_run_whose_parents_are_in_s3_leaves_the_same_objects(
    s3: S3, world: World, undisturbed: World, material: Path
) -> None:
    for who in ("father", "mother"):
        uri = upload(s3, material / "parents/tiny-qwen35" / who, f"tiny/{who}")
        world.edit("parents", who, "uri", value=uri)
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    assert world.objects() == undisturbed.objects()


# ---- what is read


def test_a_diagnosis_reads_16_bit_tensors_and_those_of_one_value_once_and_others_twice(
    stored: tuple[str, str], requests: Requests
) -> None:
    father, mother = (open_model(uri) for uri in stored)
    folders = {"father": father, "mother": mother}
    times = {who: {name: times_read(folder, name) for name in folder.tensors} for who, folder in folders.items()}
    requests.clear()
    list(diagnose(father, mother, Mri()))
    for who, folder in folders.items():
        wanted: list[tuple[str, int, int]] = []
        for name, located in folder.tensors.items():
            place = f"pair/{who}/{located.file}", located.info.start, located.info.stop
            wanted += [place] * times[who][name]
        assert sorted(request for request in requests if who in request[0]) == sorted(wanted)


def test_a_large_tensor_is_read_in_blocks_that_cover_it_once(s3: S3, tmp_path: Path, requests: Requests) -> None:
    size = BLOCK + 3
    for seed, who in enumerate(("father", "mother")):
        write_model(tmp_path / who, {UP: tensor(normal(seed, size))})
        upload(s3, tmp_path / who, f"large/{who}")
    folders = [open_model(f"s3://{BUCKET}/large/{who}") for who in ("father", "mother")]
    requests.clear()
    (row,) = diagnose(folders[0], folders[1], Mri())
    assert (row.presence, row.size) == ("both", size)
    for who, folder in zip(("father", "mother"), folders, strict=True):
        found = requests.of(f"large/{who}/{SINGLE}")
        assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
        assert (found[0][0], found[-1][1]) == (folder.info(UP).start, folder.info(UP).stop)
        assert max(stop - start for start, stop in found) <= BLOCK


def test_a_folder_is_opened_by_its_headers_and_small_files(stored: tuple[str, str], requests: Requests) -> None:
    folder = open_model(stored[0])
    assert folder.config["model_type"] == "qwen3_5"
    for name, size in folder.files.sizes.items():
        found = requests.of(f"pair/father/{name}")
        if name.endswith(".safetensors"):
            ends = [located.info.start for located in folder.tensors.values() if located.file == name]
            assert found == [(0, 8), (8, min(ends))]
        elif name in ("config.json", INDEX):
            assert found == [(0, size)]


def test_a_worker_that_finds_digests_in_the_store_reads_no_weights_for_the_pins(
    s3: S3, tmp_path: Path, requests: Requests
) -> None:
    for seed, who in enumerate(("father", "mother")):
        write_model(tmp_path / who, {UP: tensor(normal(seed, 1 << 20))})
        upload(s3, tmp_path / who, f"pinned/{who}")
    uris = {who: f"s3://{BUCKET}/pinned/{who}" for who in ("father", "mother")}

    def pins() -> tuple[list[str], int]:
        requests.clear()
        store = open_store(f"s3://{BUCKET}/runs/pinned")
        place = Place(Bindings(**uris, store=store.uri), store, threading.Event(), lambda done, of: None)
        found = [folder.pin for folder in place.parents()]
        return found, sum(stop - start for key, start, stop in requests if key.endswith(SINGLE))

    first, read = pins()
    assert read > 2 * 2 * (1 << 20)
    again, read = pins()
    assert again == first
    assert 0 < read < 1000, "headers, and no more"
    write_model(tmp_path / "father", {UP: tensor(normal(5, 1 << 20))})
    upload(s3, tmp_path / "father", "pinned/father")
    changed, _ = pins()
    assert (changed[0] != first[0], changed[1]) == (True, first[1])


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("command", ["mri", "merge"])
def test_commands_that_only_compute_on_weights_import_no_torch(
    stored: tuple[str, str], tmp_path: Path, command: str
) -> None:
    father, mother = stored
    call = [command, father, mother]
    if command == "merge":
        call = [command, "--father", father, "--mother", mother, "--genome", GENOME, "-o", str(tmp_path / "child")]
    call += ["--set", "merge.oneSided=Keep"]
    code = f"import sys; from darwinmerge.cli.main import cli; cli.main({call!r}, standalone_mode=False)"
    report = f"{code}\nprint('HEAVY', [name for name in ('torch', 'transformers', 'lm_eval') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert "HEAVY []" in run.stdout


# ---- what is not as it must be


def test_a_shard_cut_short_is_refused_by_name(s3: S3, local: Pair, father: str) -> None:
    key = f"{father.removeprefix(f's3://{BUCKET}/')}/{SHARD}"
    s3.client().put_object(Bucket=BUCKET, Key=key, Body=(local.father.path / SHARD).read_bytes()[:-10])
    with pytest.raises(BadInput, match=f"^{father}/{SHARD}: truncated.*download it again"):
        open_model(father)


def test_a_shard_that_is_missing_is_refused_by_name(s3: S3, father: str) -> None:
    s3.client().delete_object(Bucket=BUCKET, Key=f"{father.removeprefix(f's3://{BUCKET}/')}/{SHARD}")
    with pytest.raises(BadInput, match=f"^{father}/{SHARD}: missing, though {INDEX} names it; download it again"):
        open_model(father)


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_an_object_that_changes_while_it_is_in_use_is_an_error_and_no_garbage(
    s3: S3, local: Pair, stored: tuple[str, str], father: str, change: str
) -> None:
    folder, mother = open_model(father), open_model(stored[1])
    name = next(found for found, located in folder.tensors.items() if located.file == SHARD)
    key = f"{father.removeprefix(f's3://{BUCKET}/')}/{SHARD}"
    if change == "changed":
        data = bytearray((local.father.path / SHARD).read_bytes())
        data[-1] ^= 1
        s3.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(data))
    else:
        s3.client().delete_object(Bucket=BUCKET, Key=key)
    says = f"^{father}/{SHARD}: the object was {change} while it was in use; put back what was there"
    with pytest.raises(BadInput, match=says):
        folder.bits(name)
    with pytest.raises(BadInput, match=says):
        list(diagnose(folder, mother, Mri()))
    with pytest.raises(BadInput, match=says):
        _ = folder.pin


def test_a_prefix_with_nothing_in_it_is_no_model(s3: S3) -> None:
    with pytest.raises(BadInput, match=f"^s3://{BUCKET}/nothing/here: no such model folder"):
        open_model(f"s3://{BUCKET}/nothing/here/")


def test_a_bucket_that_lets_nobody_in_is_named_with_the_remedy(s3: S3, local: Pair) -> None:
    s3.client().create_bucket(Bucket="private")
    with pytest.raises(BadConfiguration, match=r"^s3://private/father/: .*AccessDenied.*; allow these"):
        open_model("s3://private/father")


@pytest.mark.usefixtures("s3")
def test_copies_for_libraries_that_know_only_paths_go_when_the_process_ends(stored: tuple[str, str]) -> None:
    code = f"from darwinmerge.checkpoint.opening import open_model; print(open_model({stored[0]!r}).path)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip()
    assert not Path(run.stdout.strip()).exists()
