"""A model folder on this machine: its tensors by name, its side files, and its pin.

The pin is the SHA-256 of what determines the model (weights, config, tokenizer), whatever the folder is called;
a run records it once and every later reader checks it, so a parent that changes in mid-run is noticed.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.dtypes import DTYPES, Bits
from darwinmerge.checkpoint.header import TensorInfo, header_length, parse_header
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.uri import file_path

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SIDE_FILES = (  # what goes with the weights; other files of a folder (cards, logs, code) are not the model's
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "chat_template.json",
    "*processor_config.json",
)


@dataclass(frozen=True)
class Located:
    """A tensor and the file that holds it."""

    info: TensorInfo
    file: Path


class ModelFolder:
    """A safetensors model folder, single or sharded; tensors are memory-mapped, never loaded whole."""

    def __init__(self, path: Path) -> None:
        """Read the headers of the folder's weight files.

        Raises:
            BadInput: there is no such folder, it holds no safetensors, or its files are not whole.
        """
        self.path = path
        if not path.is_dir():
            raise BadInput(f"{path}: no such model folder; check the URI under spec.parents")
        promised = self._index()
        located: dict[str, Located] = {}
        self._files = self._weight_files(set(promised.values()))
        for file in self._files:
            for info in _read_header(file).values():
                if info.name in located:
                    raise BadInput(f"{file}: tensor {info.name} is also in {located[info.name].file.name}")
                located[info.name] = Located(info, file)
        for name, holder in promised.items():
            if name not in located or located[name].file.name != holder:
                raise BadInput(f"{path / INDEX}: tensor {name} is not in {holder}; download both again")
        self.tensors: Mapping[str, Located] = dict(sorted(located.items()))
        if not self.tensors:
            raise BadInput(f"{path}: no tensors in it")

    def view(self, names: Mapping[str, str]) -> "ModelFolder":
        """The same folder, files and pin, with other names: `names` maps each name it shall have to one it has.

        Tensors that `names` leaves out are not in the view.
        """
        view = copy.copy(self)
        view.tensors = {
            name: Located(replace(self.info(own), name=name), self.tensors[own].file)
            for name, own in sorted(names.items())
        }
        return view

    def _index(self) -> dict[str, str]:
        """Which file the index says holds each tensor; empty where there is no index."""
        index = self.path / INDEX
        if not index.exists():
            return {}
        try:
            promised = json.loads(index.read_text())["weight_map"]
            names = sorted(set(promised.values()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{index}: not a weight index: {error}") from None
        for name in names:
            if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
                raise BadInput(f"{index}: names a file outside its folder, or not safetensors: {name!r}")
            if not (self.path / name).is_file():
                raise BadInput(f"{self.path / name}: missing, though {INDEX} names it; download it again")
        return dict(promised)

    def _weight_files(self, promised: set[str]) -> list[Path]:
        if promised:
            return [self.path / name for name in sorted(promised)]
        if (self.path / SINGLE).is_file():
            return [self.path / SINGLE]
        if (self.path / "adapter_config.json").is_file():
            raise BadInput(f"{self.path}: a LoRA adapter, no whole model; merge it into its base first")
        if any(self.path.glob("*.gguf")):
            raise BadInput(f"{self.path}: its weights are GGUF, which is quantised; give the safetensors model")
        if any(self.path.glob("*.bin")) or any(self.path.glob("*.pt*")):
            raise BadInput(f"{self.path}: its weights are pickles, which can run code; convert them to safetensors")
        raise BadInput(f"{self.path}: neither {SINGLE} nor {INDEX} in it; a model folder has one of them")

    def bits(self, name: str) -> Bits:
        """The tensor's elements in C order, flat, a read-only map of the file; BF16 as uint16 bits.

        A map of its own, so that its pages go with it: a map of the whole file would keep all that was ever read.
        """
        located = self.tensors[name]
        bits = DTYPES[located.info.dtype].bits
        if not located.info.nbytes:
            return np.empty(0, bits)
        return np.memmap(located.file, np.uint8, "r", located.info.start, (located.info.nbytes,)).view(bits)

    def info(self, name: str) -> TensorInfo:
        """Dtype, shape and extent of a tensor."""
        return self.tensors[name].info

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`.

        Raises:
            BadInput: it is missing or isn't JSON.
        """
        try:
            config = json.loads((self.path / "config.json").read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{self.path / 'config.json'}: {error}; a model folder has it") from None
        if not isinstance(config, dict):
            raise BadInput(f"{self.path / 'config.json'}: not a JSON object")
        return config

    def side_files(self) -> list[Path]:
        """Config, tokenizer, chat template and generation config: what a child copies from Father."""
        return sorted({path for pattern in SIDE_FILES for path in self.path.glob(pattern) if path.is_file()})

    @cached_property
    def pin(self) -> str:
        """SHA-256, in hex, over the folder's weight and side files; reads every byte once."""
        return digest(self.file_digests)

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """SHA-256, in hex, of each file that determines the model."""
        index = [self.path / INDEX] if (self.path / INDEX).exists() else []
        return {path.name: file_digest(path) for path in sorted({*self._files, *self.side_files(), *index})}


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_model(uri: str) -> ModelFolder:
    """The model folder at `uri`.

    Raises:
        BadConfiguration: the scheme has no reader.
        BadInput: the folder is not a whole model.
    """
    return ModelFolder(local_path(uri))


def local_path(uri: str) -> Path:
    """The folder of a `file://` URI or path.

    Raises:
        BadConfiguration: the scheme has no reader in this version.
    """
    path = file_path(uri)
    if path is not None:
        return path
    scheme, remedy = uri.partition("://")[0], "download the folder and give its path"
    raise BadConfiguration(f"{uri}: models can't be read from {scheme}:// in this version; {remedy}")


def _read_header(file: Path) -> dict[str, TensorInfo]:
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = header_length(handle.read(8), size, str(file))
        return parse_header(handle.read(length), size, str(file))
