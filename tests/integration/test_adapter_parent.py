"""An adapter and the model that it is on are one parent: found wherever they lie, pinned together, proved as any."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from darwinmerge.checkpoint.adapter import CONFIG, WEIGHTS
from darwinmerge.checkpoint.compatible import require_base
from darwinmerge.checkpoint.folder import SINGLE, ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.manifest import Hub as Repository
from darwinmerge.pipeline.place import Place
from darwinmerge.publish.licences import require_shareable
from darwinmerge.store import open_store
from tests.build import normal, tensor
from tests.hub import Hub
from tests.integration.adapted import FITTING, Q, llama, write_adapter
from tests.integration.conftest import World, darwin
from tests.integration.test_s3_parents import upload
from tests.s3 import S3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in bfloat16 whose head is its own."""
    return llama(tmp_path_factory.mktemp("base"), tied=False)


def test_the_model_that_an_adapter_is_on_is_the_one_that_is_given_or_named(base: Path, tmp_path: Path) -> None:
    here = write_adapter(tmp_path / "a", FITTING, base_model_name_or_path=str(base))
    assert open_model(str(here)).bits(Q).tobytes() == open_model(str(here), base=str(base)).bits(Q).tobytes()
    nowhere = write_adapter(tmp_path / "b", FITTING, base_model_name_or_path="./somewhere")
    with pytest.raises(BadInput, match=r"'./somewhere', is neither on a hub nor a folder.*: `base`, beside"):
        open_model(str(nowhere))
    with pytest.raises(BadConfiguration, match=r"a whole model, and no adapter on .*; leave `base` out"):
        open_model(str(base), base=str(base))
    with pytest.raises(BadInput, match="a LoRA adapter, no whole model"):
        open_model(str(here), base=str(nowhere))


def test_an_adapter_is_no_base_of_two_parents(base: Path, tmp_path: Path) -> None:
    here = open_model(str(write_adapter(tmp_path / "a", FITTING)), base=str(base))
    with pytest.raises(BadInput, match=rf"base .*: an adapter on {base}; a base is a whole model: name what both"):
        require_base(here, open_model(str(base)), here)


def test_the_licence_of_the_model_that_an_adapter_is_on_counts(base: Path, tmp_path: Path) -> None:
    vast = Path(shutil.copytree(base, tmp_path / "vast"))
    (vast / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    mine = write_adapter(tmp_path / "a", FITTING)
    (mine / "README.md").write_text("---\nlicense: mit\n---\n")
    where = Bindings(
        father=str(base), mother=str(mine), mother_base=str(vast), store=str(tmp_path), hub=Repository(repo="org/child")
    )
    place = Place(where, open_store(str(tmp_path / "store")), threading.Event(), lambda *_: None)
    with pytest.raises(BadConfiguration, match=r"mother's base model vast is under cc-by-nd-4\.0, which forbids"):
        require_shareable(place)


def test_the_pin_is_over_both_and_the_tokenizer_the_adapters_own(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    write_adapter(tmp_path / "a", FITTING)
    (tmp_path / "a/tokenizer.json").write_text('{"mine": 1}')
    (tmp_path / "a/config.json").write_text("{}")

    def found() -> ModelFolder:
        return open_model(str(tmp_path / "a"), base=str(tmp_path / "base"))

    first = found()
    pins = {first.pin}
    assert {WEIGHTS, CONFIG, SINGLE, "config.json", "tokenizer.json"} <= first.file_digests.keys()
    assert first.read("tokenizer.json") == b'{"mine": 1}'
    assert first.config["model_type"] == "llama"
    assert (first.path / "tokenizer.json").read_text() == '{"mine": 1}'
    assert json.loads((first.path / "config.json").read_text()) == first.config
    write_adapter(tmp_path / "a", FITTING, lora_alpha=9)
    pins.add(found().pin)
    data = bytearray((tmp_path / "base" / SINGLE).read_bytes())
    data[-1] ^= 1
    (tmp_path / "base" / SINGLE).write_bytes(data)
    pins.add(found().pin)
    assert len(pins) == 3


def test_a_child_of_an_adapter_is_scored_exported_and_verified_as_any(
    world: World, material: Path, tmp_path: Path
) -> None:
    father = material / "parents/tiny-qwen35/father"
    named = "layers.0.mlp.up_proj"
    place = next(name for name in open_model(str(father)).tensors if name.endswith(f"{named}.weight"))
    out, width = open_model(str(father)).info(place).shape
    stem = f"base_model.model.{place.removesuffix('.weight')}"
    factors = {f"{stem}.lora_A.weight": normal(1, 4, width), f"{stem}.lora_B.weight": normal(2, out, 4, scale=1)}
    write_adapter(tmp_path / "adapter", {name: tensor(x, "F32") for name, x in factors.items()})
    world.edit("parents", "mother", value={"uri": str(tmp_path / "adapter"), "base": str(father)})
    world.edit("evolution", "steps", value=1)
    world.edit("output", value={"uri": str(tmp_path / "child")})
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads((tmp_path / "child/darwin.json").read_text())
    assert record["accounts"]["merged"] + record["accounts"].get("transplanted-mother", 0) == 1
    assert json.loads((tmp_path / "child/darwin-run.json").read_text())["motherBase"] == str(father.resolve())
    verified = darwin("verify", tmp_path / "child")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    moved = shutil.copytree(tmp_path / "adapter", tmp_path / "moved")
    world.edit("parents", "mother", value={"uri": str(moved), "base": str(father)})
    assert darwin("run", world.manifest).returncode == 0, "the same adapter at another place is the same parent"
    world.edit("parents", "mother", value={"uri": str(moved), "base": str(material / "parents/tiny-qwen35/mother")})
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "with other parents than the manifest names" in run.stderr


def test_an_adapter_on_a_hub_is_on_the_model_that_it_names_there(there: Hub, base: Path, tmp_path: Path) -> None:
    at = there.push("org/base", base)
    write_adapter(tmp_path / "a", FITTING, base_model_name_or_path="org/base")
    there.push("org/adapter", tmp_path / "a")
    folder = open_model("hf://org/adapter")
    expected = open_model(str(tmp_path / "a"), base=str(base))
    there.asked.clear()
    assert folder.bits(Q).tobytes() == expected.bits(Q).tobytes()
    sent = sum(request.sent for request in there.of("/storage/"))
    assert folder.file_digests == expected.file_digests
    assert str(folder).endswith(f" on hf://org/base@{at}")
    assert sent == 32 * 32 * 2 + 2 * 32 * 4 * 2, "one tensor of the model, and its factors"


def test_the_model_that_an_adapter_names_is_the_same_commit_for_the_whole_run(
    there: Hub, base: Path, tmp_path: Path
) -> None:
    first = there.push("org/base", base)
    write_adapter(tmp_path / "a", FITTING, base_model_name_or_path="org/base")
    there.push("org/adapter", tmp_path / "a")
    store = open_store(str(tmp_path / "store"))
    where = Bindings(father="hf://org/base", mother="hf://org/adapter", store=store.uri)

    def found() -> tuple[dict[str, str], str]:
        place = Place(where, store, threading.Event(), lambda done, of: None)
        return place.commits(), place.parents()[1].pin

    was = found()
    assert (was[0]["father"], was[0]["motherBase"]) == (first, first)
    there.push("org/base", {**there.models["org/base"].commits[first], "config.json": b"{}"})
    assert found() == was


def test_an_adapter_may_lie_in_s3_and_its_model_elsewhere(s3: S3, base: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", FITTING)
    there, expected = upload(s3, tmp_path / "a", "adapters/a"), open_model(str(tmp_path / "a"), base=str(base))
    for on in (str(base), upload(s3, base, "adapters/base")):
        folder = open_model(there, base=on)
        assert [bits.tobytes() for bits in folder.whole(folder.tensors)] == [
            bits.tobytes() for bits in expected.whole(expected.tensors)
        ]
        assert folder.pin == expected.pin
        assert json.loads((folder.path / "config.json").read_text()) == expected.config
