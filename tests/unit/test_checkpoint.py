"""A model folder gives its tensors as they lie in its files, or says what is missing and what to do."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from darwinmerge.checkpoint.files import BLOCK
from darwinmerge.checkpoint.folder import INDEX, SINGLE, ModelFolder
from darwinmerge.checkpoint.opening import local_path, open_model
from darwinmerge.errors import BadConfiguration, BadInput
from tests.build import Tensor, normal, tensor, write_model


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {
        "model.embed_tokens.weight": tensor(normal(1, 8, 4)),
        "model.layers.0.linear_attn.A_log": tensor(normal(2, 3), "F32"),
        "model.layers.0.mlp.up_proj.weight": tensor(normal(3, 4, 6), "F16"),
        "model.layers.0.counter": tensor([1, 2, 3], "I64"),
        "model.layers.0.nothing": tensor(np.empty((0, 4))),
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_tensors_are_read_as_they_were_written(tmp_path: Path, tensors: dict[str, Tensor], shards: int) -> None:
    folder = write_model(tmp_path, tensors, shards)
    assert list(folder.tensors) == sorted(tensors)
    for name, wanted in tensors.items():
        assert (folder.info(name).dtype, folder.info(name).shape) == (wanted.dtype, wanted.shape)
        assert folder.bits(name).tobytes() == wanted.bits.tobytes()


def test_a_folder_of_the_safetensors_library_is_read(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "w": normal(1, 3, 5).astype(np.float32),
        "h": normal(2, 7).astype(np.float16),
        "i": np.arange(4),
    }
    safetensors.numpy.save_file(arrays, tmp_path / SINGLE)
    folder = ModelFolder(tmp_path)
    for name, array in arrays.items():
        assert np.array_equal(folder.bits(name).reshape(folder.info(name).shape), array)


def test_the_headers_of_a_real_model_agree_with_the_safetensors_library(material: Path) -> None:
    folder = ModelFolder(material / "parents" / "tiny-qwen35" / "father")
    with safetensors.safe_open(folder.path / SINGLE, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        found = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
    assert found == {name: (located.info.dtype, located.info.shape) for name, located in folder.tensors.items()}


def test_tensors_cannot_be_written_to(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        write_model(tmp_path, tensors).elements("model.layers.0.counter")[:][0] = 5


Damage = Callable[[Path], object]


def _index(names: object) -> Damage:
    return lambda folder: (folder / INDEX).write_text(json.dumps({"weight_map": names}))


DAMAGES: list[tuple[str, Damage, str]] = [
    ("an index that is not JSON", lambda f: (f / INDEX).write_text("{"), "not a weight index"),
    ("an index of the wrong form", lambda f: (f / INDEX).write_text("[]"), "not a weight index"),
    ("an index without a map", lambda f: (f / INDEX).write_text("{}"), "not a weight index"),
    ("an index with files of two types", _index({"a": 1, "b": "x.safetensors"}), "not a weight index"),
    ("an index nested without end", lambda f: (f / INDEX).write_text("[" * 100_000), "not a weight index"),
    ("an index that leads up", _index({"a": "../model.safetensors"}), "names a file outside its folder"),
    ("an index with an absolute path", _index({"a": "/model.safetensors"}), "names a file outside its folder"),
    ("an index of pickles", _index({"a": "model.bin"}), "or not safetensors"),
    ("a shard that is missing", _index({"a": "model-9.safetensors"}), "model-9.safetensors: missing, though"),
    ("a shard cut short", lambda f: _cut(f / SINGLE, 10), "truncated"),
    ("a header cut short", lambda f: _cut(f / SINGLE, None), "its header claims"),
    ("no weights", lambda f: (f / SINGLE).unlink(), f"neither {SINGLE} nor {INDEX}"),
    ("pickles", lambda f: (f / SINGLE).rename(f / "pytorch_model.bin"), "pickles, which can run code"),
    ("an adapter", lambda f: (f / SINGLE).rename(f / "adapter_config.json"), "a LoRA adapter, no whole model"),
    ("a GGUF file", lambda f: (f / SINGLE).rename(f / "model.gguf"), "GGUF, which is quantised"),
    ("no folder", lambda f: f.rename(f.with_name("elsewhere")), "no such model folder"),
    ("a file without tensors", lambda f: (f / SINGLE).write_bytes(b"\2\0\0\0\0\0\0\0{}"), "no tensors in it"),
]


def _cut(path: Path, lost: int | None) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:20] if lost is None else data[:-lost])


@pytest.mark.parametrize(("damage", "message"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_a_folder_that_is_no_whole_model_is_refused_by_name(
    tmp_path: Path, tensors: dict[str, Tensor], damage: Damage, message: str
) -> None:
    folder = tmp_path / "model"
    write_model(folder, tensors)
    damage(folder)
    with pytest.raises(BadInput, match=message) as caught:
        ModelFolder(folder)
    assert str(folder) in str(caught.value)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_model(tmp_path, tensors, 2)
    shards = sorted(tmp_path.glob("*.safetensors"))
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(BadInput, match=f"is also in {shards[0].name}"):
        ModelFolder(tmp_path)


def test_a_tensor_that_the_index_names_and_its_shard_lacks_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    write_model(tmp_path, tensors, 2)
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = index["weight_map"]["model.embed_tokens.weight"]
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"model\.norm\.weight"):
        ModelFolder(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000], ids=["broken", "a list", "nested without end"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, tensors: dict[str, Tensor], text: str) -> None:
    folder = write_model(tmp_path, tensors)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json"):
        _ = folder.config


def test_the_pin_is_that_of_the_content_whatever_the_folder_is_called(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    one, same = write_model(tmp_path / "one", tensors), write_model(tmp_path / "same", tensors)
    other = write_model(tmp_path / "other", {**tensors, "model.norm.weight": tensor([1.0])})
    configured = write_model(tmp_path / "configured", tensors, rope_theta=7)
    assert one.pin == same.pin
    assert len({one.pin, other.pin, configured.pin}) == 3


def test_side_files_are_those_a_child_takes_over(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_model(tmp_path, tensors, 2)
    for name in ("tokenizer.json", "chat_template.jinja", "README.md", "darwin.json", "merges.txt", "spiece.model"):
        (tmp_path / name).write_text("{}")
    found = open_model(str(tmp_path)).side_files()
    assert found == ["chat_template.jinja", "config.json", "merges.txt", "spiece.model", "tokenizer.json"]


def test_paths_and_file_uris_are_one_place(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    folder = tmp_path / "my models"
    write_model(folder, tensors)
    assert open_model(folder.as_uri()).pin == open_model(str(folder)).pin
    assert local_path("models/father") == Path("models/father")


def test_a_volume_claim_is_a_folder_under_the_one_that_claims_are_mounted_in(
    tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARWIN_PVC_ROOT", str(tmp_path))
    pin = write_model(tmp_path / "models" / "my father", tensors).pin
    assert open_model("pvc://models/my%20father").pin == pin
    assert local_path("pvc://models") == tmp_path / "models"


@pytest.mark.parametrize("uri", ["pvc://models/father", "pvc:///father", "pvc://"])
def test_a_claim_that_is_not_mounted_is_refused_with_what_to_do(uri: str) -> None:
    with pytest.raises(BadConfiguration, match=f"{uri}: .* isn't mounted at /mnt/pvc.*set DARWIN_PVC_ROOT"):
        open_model(uri)


@pytest.mark.parametrize(
    "uri", ["pvc://models/../other", "pvc://models/a/%2e%2E/b", "pvc://models/a%2F../b", "pvc://.."]
)
def test_no_path_leads_out_of_its_claim(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARWIN_PVC_ROOT", str(tmp_path))
    with pytest.raises(BadConfiguration, match=f"{uri}: '..' would lead out of the claim"):
        local_path(uri)


def test_a_scheme_that_has_no_reader_is_refused_by_name() -> None:
    with pytest.raises(BadConfiguration, match="ftp://host/name: models can't be read from ftp://"):
        open_model("ftp://host/name")


def test_large_tensors_are_whole_however_they_are_read(tmp_path: Path) -> None:
    size = BLOCK // 2 + 5
    held = {"a": tensor(normal(1, size)), "b": tensor(np.empty(0)), "c": tensor(normal(2, 7), "F32")}
    folder = write_model(tmp_path, held)
    assert [bits.tobytes() for bits in folder.whole("cba")] == [held[name].bits.tobytes() for name in "cba"]
    elements = folder.elements("a")
    assert len(elements) == size
    assert elements[3:-1].tobytes() == held["a"].bits[3:-1].tobytes()


def _rewrite(path: Path) -> None:
    """Other bytes, as many as before, at another time."""
    old = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))


def _shorten(path: Path) -> None:
    """The time that it had, and half of it gone."""
    old = path.stat()
    os.truncate(path, old.st_size // 2)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "how"),
    [(_rewrite, "changed"), (_shorten, "changed"), (Path.unlink, "removed")],
    ids=["rewritten", "shortened", "removed"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["maps of stretches", "maps that are kept"])
def test_a_file_that_changes_after_its_folder_was_opened_is_never_read(
    tmp_path: Path, tensors: dict[str, Tensor], change: Callable[[Path], None], how: str, kept: bool
) -> None:
    write_model(tmp_path, tensors)
    folder = ModelFolder(tmp_path)
    if kept:
        folder.files.keep()
    assert [folder.bits(name).tobytes() for name in tensors] == [held.bits.tobytes() for held in tensors.values()]
    name = next(iter(tensors))
    change(tmp_path / SINGLE)
    says = f"{re.escape(str(tmp_path / SINGLE))}: the file was {how} while it was in use; put back what was there"
    with pytest.raises(BadInput, match=says):
        folder.bits(name)
    with pytest.raises(BadInput, match=says):
        _ = folder.pin
